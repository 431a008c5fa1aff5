SELECT dept FROM depts EXCEPT SELECT dept FROM staff
