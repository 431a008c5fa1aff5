SELECT x, w FROM (SELECT unnest([3, 1, 2]) AS x), (SELECT unnest(['p', 'q']) AS w)
