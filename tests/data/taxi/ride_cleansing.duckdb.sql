SELECT * FROM read_json('../data/taxi/rides.jsonl', format = 'newline_delimited', columns = {
  rideId: 'BIGINT', isStart: 'BOOLEAN', eventTime: 'TIMESTAMP_MS', startLon: 'FLOAT', startLat: 'FLOAT',
  endLon: 'FLOAT', endLat: 'FLOAT', passengerCnt: 'SMALLINT', taxiId: 'BIGINT', driverId: 'BIGINT'})
WHERE startLon BETWEEN -74.05 AND -73.7 AND startLat BETWEEN 40.5 AND 41.0
  AND endLon BETWEEN -74.05 AND -73.7 AND endLat BETWEEN 40.5 AND 41.0
