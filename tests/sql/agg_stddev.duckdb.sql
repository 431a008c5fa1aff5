SELECT wstart(ts, 60000, 0) AS window_start, sensor, ROUND(STDDEV_SAMP(temp), 4) AS ss,
       ROUND(STDDEV_POP(temp), 4) AS sp, ROUND(VAR_SAMP(temp), 4) AS vs,
       ROUND(VAR_POP(temp), 4) AS vp, ROUND(STDDEV_SAMP(temp), 4) AS s
FROM readings GROUP BY ALL
