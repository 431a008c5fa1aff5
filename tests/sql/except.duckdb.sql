SELECT dept FROM staff EXCEPT SELECT dept FROM depts
