SELECT dept FROM staff UNION SELECT dept FROM depts
