"""Files of past events as messages: a mapping of columns, read in bounded memory, moved in time on request."""
