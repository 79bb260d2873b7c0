"""Any detector on series whose anomalies are known: NAB, drift streams, a file; beside the alarms anyone would try."""
