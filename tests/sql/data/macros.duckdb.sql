-- Windows and arithmetic in DuckDB's words.
CREATE MACRO wstart(ts, size_ms, offset_ms) AS
  epoch_ms(CAST(epoch_ms(ts) - (((epoch_ms(ts) - offset_ms) % size_ms) + size_ms) % size_ms AS BIGINT));
CREATE MACRO plus_ms(ts, ms) AS epoch_ms(CAST(epoch_ms(ts) + ms AS BIGINT));
-- Starts of the hopping windows that hold ts.
CREATE MACRO hop_starts(ts, size_ms, slide_ms, offset_ms) AS
  [epoch_ms(CAST(s AS BIGINT)) FOR s IN
   range(epoch_ms(wstart(ts, slide_ms, offset_ms)), epoch_ms(ts) - size_ms, -slide_ms)];
-- Ends of the cumulating windows that hold ts.
CREATE MACRO cumulate_ends(ts, size_ms, step_ms, offset_ms) AS
  [epoch_ms(CAST(s AS BIGINT)) FOR s IN
   range(epoch_ms(wstart(ts, step_ms, offset_ms)) + step_ms,
         epoch_ms(wstart(ts, size_ms, offset_ms)) + size_ms + 1, step_ms)];
-- Division and mean of integers as in Flink: towards zero.
CREATE MACRO int_avg(x) AS CAST(trunc(sum(x) / count(x)) AS BIGINT);
