FROM readings
