-- Comments of both kinds, quoted identifiers, doubled quotes, keywords as names, a semicolon in a string.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

-- a comment; with a semicolon
/* one over
   two lines; */
SELECT order_id AS `order`, product AS `the ``product```, 'it''s; -- fine' AS `text` /* here */
FROM orders -- there
WHERE `customer` = 'ann' AND product <> 'x /* no comment */';
