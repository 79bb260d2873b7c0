"""What a worker writes to standard error: lines for people, or one JSON object a line for collectors.

Facts go into ``extra=``, never into the message, so that both forms carry them:
``log.info("assigned", extra={"partitions": [0, 3]})``.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from streams.harmless import harmless

if TYPE_CHECKING:
    from streams.config import LoggingSettings

# Libraries that narrate: their informational lines are shown only to who asks for debugging.
_CHATTY = ("aiokafka", "faust", "mode", "aiohttp", "clickhouse_connect", "asyncio")

# Its debugging lines hold every request as it is sent: the password among them, where the mechanism sends it.
_TELLTALE = "aiokafka.conn"

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logging(settings: "LoggingSettings", stream: TextIO | None = None) -> None:
    """Set the process's logging up, replacing what was there. Called once, by the command that runs a worker."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    level = logging.getLevelName(settings.level.upper())
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(level if level == logging.DEBUG else max(level, logging.WARNING))
    logging.getLogger(_TELLTALE).setLevel(max(level, logging.INFO))


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller passed as ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class TextFormatter(logging.Formatter):
    """``12:03:04.512 WARNING streams.sinks: insert failed table=panes``, in UTC, the traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        pairs = "".join(f" {name}={value}" for name, value in facts(record).items())
        # A message of several lines is indented: no line of it looks like the begin of another.
        message = harmless(record.getMessage(), keep="\n").replace("\n", "\n  ")
        line = f"{time} {record.levelname:<7} {record.name}: {message}{harmless(pairs)}"
        trace = harmless(self.formatException(record.exc_info), keep="\n") if record.exc_info else ""
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(logging.Formatter):
    """One object a line: ``time`` (RFC 3339, UTC), ``level``, ``logger``, ``message``, the facts, ``error`` if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **facts(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
