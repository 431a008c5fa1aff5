SELECT product, COUNT(*) AS rows_n, COUNT(DISTINCT n) AS different, MIN(total) AS low, MAX(total) AS high,
       CAST(SUM(DISTINCT n) AS BIGINT) AS sum_n, CAST(ROUND(SUM(total) * 1.0000 / COUNT(total), 6) AS DECIMAL(38, 6)) AS mean, ROUND(STDDEV_POP(total), 6) AS spread, ROUND(VAR_SAMP(n), 6) AS variance,
       BOOL_AND(n > 1) AS every_n, BOOL_OR(n > 2) AS some_n, BIT_AND(n) AS bits_and, BIT_OR(n) AS bits_or, BIT_XOR(n) AS bits_xor,
       ROUND(CORR(n, total), 6) AS together, ROUND(COVAR_POP(n, total), 6) AS covariance, ROUND(REGR_SLOPE(total, n), 6) AS slope,
       COUNT(*) FILTER (WHERE n > 1) AS many
FROM (SELECT customer, product, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer, product) AS totals GROUP BY product
