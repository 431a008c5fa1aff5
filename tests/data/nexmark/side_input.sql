-- The bounded side input of q13.
CREATE TABLE side_input (key BIGINT, `value` STRING)
WITH ('connector' = 'filesystem', 'path' = 'side_input.csv', 'format' = 'csv');
