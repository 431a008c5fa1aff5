SELECT s.name, v.label FROM staff AS s JOIN (VALUES (10, 'ten'), (20, 'twenty')) AS v (dept,
  label) ON s.dept = v.dept
