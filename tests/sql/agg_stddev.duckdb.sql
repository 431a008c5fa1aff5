SELECT wstart(ts, 60000, 0) AS window_start, sensor, ROUND(STDDEV_SAMP(temp), 3) AS ss,
       ROUND(STDDEV_POP(temp), 3) AS sp, ROUND(VAR_SAMP(temp), 3) AS vs,
       ROUND(VAR_POP(temp), 3) AS vp, ROUND(STDDEV_SAMP(temp), 3) AS s
FROM readings GROUP BY ALL
