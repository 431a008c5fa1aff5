SELECT order_id, qty // 2 AS half, CAST(trunc(-qty / 2) AS INTEGER) AS minus_half, (-qty) % 4 AS m, abs(3 - qty) AS a, sign(qty - 5) AS sg,
       greatest(qty, 5) AS g, least(qty, 5) AS l, CAST(qty * qty AS DOUBLE) AS p,
       round(sqrt(qty), 6) AS sq, floor(qty / 2) AS fl, ceil(qty / 2) AS ce,
       qty * price AS worth, price - 1 AS less, qty + order_id AS wide
FROM orders WHERE qty IS NOT NULL AND price IS NOT NULL
