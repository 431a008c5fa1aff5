-- By hand: a view that no purchase of the item follows within ten minutes. It is known when they
-- are over.

CREATE TABLE shop (
  who STRING, what STRING, item STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/shop.jsonl', 'format' = 'json');

SELECT who, item, viewed FROM shop MATCH_RECOGNIZE (
  PARTITION BY who
  ORDER BY ts
  MEASURES V.item AS item, V.ts AS viewed, B.ts AS bought
  AFTER MATCH SKIP TO NEXT ROW
  PATTERN (V OTHER*? B | V) WITHIN INTERVAL '10' MINUTE
  DEFINE V AS V.what = 'view', B AS B.what = 'buy' AND B.item = V.item
)
WHERE bought IS NULL;
