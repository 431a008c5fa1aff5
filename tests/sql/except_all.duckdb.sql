SELECT dept FROM staff EXCEPT ALL SELECT dept FROM depts WHERE cap < 5
