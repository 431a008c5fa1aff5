SELECT id, strftime(ts, '%Y-%m-%d %H:%M:%S.%g') AS as_text, wstart(ts, 1000, 0) AS parsed, wstart(ts, 60000, 0) AS by_pattern,
       CAST(ts AS DATE) AS day_of, TIMESTAMP '2024-02-29 01:02:03.004' AS fixed
FROM old_events
