SELECT id, plus_ms(ts, 5400000) AS later, plus_ms(ts, -86400000) AS before_ts,
       CAST(trunc(epoch_ms(ts) / 60000) AS BIGINT) AS minutes,
       CAST(trunc(epoch_ms(ts) / 3600000) AS BIGINT) AS hours,
       CAST(trunc(-epoch_ms(ts) / 1000) AS BIGINT) AS seconds,
       plus_ms(ts, 7200000) AS plus_two
FROM old_events
