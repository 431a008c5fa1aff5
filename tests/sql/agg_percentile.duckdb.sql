SELECT product, quantile_cont(CAST(price AS DOUBLE), 0.5) AS p50, quantile_cont(CAST(qty AS DOUBLE), 0.9) AS p90, quantile_cont(CAST(qty AS DOUBLE), 0.25) AS p25,
       quantile_cont(CAST(qty AS DOUBLE), 0.3) AS cont,
       quantile_disc(price, 0.3) AS disc,
       list_reverse(list_sort(list(customer) FILTER (WHERE customer IS NOT NULL)))[greatest(1, CAST(ceil(0.3 * count(customer)) AS BIGINT))] AS disc_text
FROM orders GROUP BY product
