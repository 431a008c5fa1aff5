SELECT sensor, SUM(temp) AS total, CAST(0 AS DOUBLE) AS zero, MIN(temp) AS low, MAX(temp) AS high FROM readings GROUP BY sensor
