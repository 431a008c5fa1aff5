SELECT dept FROM staff EXCEPT SELECT cap * 10 FROM depts
