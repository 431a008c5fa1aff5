SELECT unnest([1, 2, 3, 4]) AS v
