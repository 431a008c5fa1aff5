SELECT id, year(ts) AS y, quarter(ts) AS q, month(ts) AS mo, day(ts) AS d, hour(ts) AS h, minute(ts) AS mi, second(ts) AS s,
       hour(ts) AS eh, day(ts) AS ed, CAST(ts AS DATE) AS day_of
FROM old_events
