-- A table function of constants alone.

SELECT x, w FROM UNNEST(ARRAY[3, 1, 2]) AS a (x) CROSS JOIN TABLE(STRING_TO_ARRAY('p,q', ',')) AS b (w);
