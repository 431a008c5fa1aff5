WITH g AS (SELECT product, customer, count(*) AS n, min(ts) AS a, max(ts) AS z FROM orders WHERE customer IS NOT NULL GROUP BY ALL)
SELECT 'groups' AS what, product, arg_min(customer || n, z) AS first_customer, arg_max(customer || n, z) AS last_customer FROM g GROUP BY product
UNION ALL
SELECT 'distinct', product, arg_min(customer, a), arg_max(customer, a) FROM g GROUP BY product
