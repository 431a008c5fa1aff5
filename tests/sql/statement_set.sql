-- A statement set beside a SELECT: one dataflow.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE nowhere (product STRING, n BIGINT) WITH ('connector' = 'blackhole');
CREATE TABLE nowhere_either (order_id BIGINT) WITH ('connector' = 'blackhole');

EXECUTE STATEMENT SET
BEGIN
  INSERT INTO nowhere SELECT product, COUNT(*) FROM orders GROUP BY product;
  INSERT INTO nowhere_either SELECT order_id FROM orders;
END;

SELECT product, MAX(qty) AS most FROM orders GROUP BY product;
