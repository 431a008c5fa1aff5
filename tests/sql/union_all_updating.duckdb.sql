SELECT dept FROM staff UNION ALL SELECT dept FROM depts
