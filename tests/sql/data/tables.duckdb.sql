-- DuckDB's side of the inputs, and window arithmetic in plain SQL (no code shared with Floodmark).

CREATE VIEW orders AS
SELECT * FROM read_json('data/orders.jsonl', format = 'newline_delimited', columns = {
  order_id: 'BIGINT', customer: 'VARCHAR', product: 'VARCHAR', qty: 'INTEGER',
  price: 'DECIMAL(10,2)', ts: 'TIMESTAMP_MS'});
CREATE VIEW shipments AS
SELECT * FROM read_json('data/shipments.jsonl', format = 'newline_delimited', columns = {
  order_id: 'BIGINT', carrier: 'VARCHAR', ts: 'TIMESTAMP_MS'});
CREATE VIEW readings AS
SELECT * FROM read_csv('data/readings.csv', header = false, columns = {
  sensor: 'VARCHAR', temp: 'DOUBLE', ok: 'BOOLEAN', ts: 'TIMESTAMP_MS'});
CREATE VIEW old_events AS
SELECT * FROM read_json('data/old.jsonl', format = 'newline_delimited', columns = {
  id: 'BIGINT', ts: 'TIMESTAMP_MS'});
CREATE VIEW clicks AS
SELECT * FROM read_json('data/clicks.jsonl', format = 'newline_delimited', columns = {
  user_id: 'VARCHAR', page: 'VARCHAR', ts: 'TIMESTAMP_MS'});

-- Records in file order with the time that Floodmark assigns: f is one more than the greatest
-- watermark of the records before, time = max(ts, f).
CREATE VIEW late_events AS
WITH numbered AS (
  SELECT *, row_number() OVER () AS n
  FROM read_json('data/late.jsonl', format = 'newline_delimited', maximum_object_size = 1000000, columns = {
    id: 'BIGINT', k: 'VARCHAR', v: 'INTEGER', ts: 'TIMESTAMP_MS'})
), with_frontier AS (
  SELECT *, max(epoch_ms(ts) - 2000) OVER (ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) + 1 AS f
  FROM numbered
)
SELECT id, k, v, ts, n, epoch_ms(CAST(greatest(epoch_ms(ts), coalesce(f, -9000000000000)) AS BIGINT)) AS time
FROM with_frontier;

-- Tables of joins and subqueries: staff is a changelog, of which the last change of a key counts.
CREATE VIEW staff AS
SELECT id, name, dept, boss, pay FROM (
  SELECT *, row_number() OVER () AS place
  FROM read_json('data/staff.jsonl', format = 'newline_delimited', columns = {
    op: 'VARCHAR', id: 'BIGINT', name: 'VARCHAR', dept: 'BIGINT', boss: 'BIGINT', pay: 'INTEGER',
    ts: 'TIMESTAMP_MS'})
  WHERE op <> '-U')
QUALIFY row_number() OVER (PARTITION BY id ORDER BY place DESC) = 1 AND op <> '-D';
CREATE VIEW depts AS
SELECT * FROM read_json('data/depts.jsonl', format = 'newline_delimited', columns = {
  dept: 'BIGINT', title: 'VARCHAR', cap: 'INTEGER', ts: 'TIMESTAMP_MS'});
CREATE VIEW tasks AS
SELECT * FROM read_json('data/tasks.jsonl', format = 'newline_delimited', columns = {
  task: 'BIGINT', staff: 'BIGINT', hours: 'INTEGER', tag: 'VARCHAR', ts: 'TIMESTAMP_MS'});
CREATE VIEW prices AS
SELECT * FROM read_csv('data/prices.csv', header = false, columns = {
  product: 'VARCHAR', price: 'DECIMAL(10,2)', since: 'TIMESTAMP_MS'});
