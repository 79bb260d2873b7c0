"""What travels: events, panes, findings, rows and alerts, their codecs, topics and tables. Pure: no I/O, no clock."""
