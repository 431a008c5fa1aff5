SELECT r.rideId, r.eventTime, r.driverId, r.passengerCnt, f.paymentType, f.tip, f.tolls, f.totalFare
FROM read_json('../data/taxi/rides.jsonl', format = 'newline_delimited', columns = {
  rideId: 'BIGINT', isStart: 'BOOLEAN', eventTime: 'TIMESTAMP_MS', startLon: 'FLOAT', startLat: 'FLOAT',
  endLon: 'FLOAT', endLat: 'FLOAT', passengerCnt: 'SMALLINT', taxiId: 'BIGINT', driverId: 'BIGINT'}) AS r
JOIN read_json('../data/taxi/fares.jsonl', format = 'newline_delimited', columns = {
  rideId: 'BIGINT', taxiId: 'BIGINT', driverId: 'BIGINT', startTime: 'TIMESTAMP_MS',
  paymentType: 'VARCHAR', tip: 'FLOAT', tolls: 'FLOAT', totalFare: 'FLOAT'}) AS f
ON r.rideId = f.rideId WHERE r.isStart
