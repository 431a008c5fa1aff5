-- A table that declares some of a Parquet file's columns, in another order.

CREATE TABLE some_columns (ts TIMESTAMP(3), price DECIMAL(10, 2), order_id BIGINT)
WITH ('connector' = 'filesystem', 'path' = 'data/orders.parquet', 'format' = 'parquet');

SELECT order_id, price, ts FROM some_columns WHERE price < 20;
