-- By hand: who views, carts and buys the same item within half an hour, whatever else they do.

CREATE TABLE shop (
  who STRING, what STRING, item STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/shop.jsonl', 'format' = 'json');

SELECT * FROM shop MATCH_RECOGNIZE (
  PARTITION BY who
  ORDER BY ts
  MEASURES
    V.item AS item,
    TIMESTAMPDIFF(SECOND, V.ts, B.ts) AS seconds,
    COUNT(OTHER.*) AS detours
  ONE ROW PER MATCH
  AFTER MATCH SKIP TO NEXT ROW
  PATTERN (V OTHER*? C OTHER*? B) WITHIN INTERVAL '30' MINUTE
  DEFINE
    V AS V.what = 'view',
    C AS C.what = 'cart' AND C.item = V.item,
    B AS B.what = 'buy' AND B.item = V.item
);
