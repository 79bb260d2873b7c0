"""What ClickHouse can say no with, in the few kinds that need different answers."""

from enum import StrEnum
from typing import Final

from streams.errors import HalcyonError, UnavailableError


class Reason(StrEnum):
    """Why ClickHouse did not do it. Bounded: it is a metric label."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TOO_MANY_PARTS = "too_many_parts"
    MEMORY = "memory"
    READ_ONLY = "read_only"
    DISK_FULL = "disk_full"
    OVERLOADED = "overloaded"
    ACCESS = "access"
    SCHEMA = "schema"
    DATA = "data"
    OTHER = "other"


# ClickHouse's error codes (src/Common/ErrorCodes.cpp). What is not listed is OTHER: waited for, as it may pass.
REASONS: Final[dict[int, Reason]] = {
    159: Reason.TIMEOUT,  # TIMEOUT_EXCEEDED
    209: Reason.TIMEOUT,  # SOCKET_TIMEOUT
    252: Reason.TOO_MANY_PARTS,
    173: Reason.MEMORY,  # CANNOT_ALLOCATE_MEMORY
    241: Reason.MEMORY,  # MEMORY_LIMIT_EXCEEDED
    164: Reason.READ_ONLY,  # READONLY
    242: Reason.READ_ONLY,  # TABLE_IS_READ_ONLY
    243: Reason.DISK_FULL,  # NOT_ENOUGH_SPACE
    202: Reason.OVERLOADED,  # TOO_MANY_SIMULTANEOUS_QUERIES
    203: Reason.OVERLOADED,  # NO_FREE_CONNECTION
    439: Reason.OVERLOADED,  # CANNOT_SCHEDULE_TASK
    745: Reason.OVERLOADED,  # SERVER_OVERLOADED
    192: Reason.ACCESS,  # UNKNOWN_USER
    193: Reason.ACCESS,  # WRONG_PASSWORD
    194: Reason.ACCESS,  # REQUIRED_PASSWORD
    497: Reason.ACCESS,  # ACCESS_DENIED
    516: Reason.ACCESS,  # AUTHENTICATION_FAILED
    10: Reason.SCHEMA,  # NOT_FOUND_COLUMN_IN_BLOCK
    16: Reason.SCHEMA,  # NO_SUCH_COLUMN_IN_TABLE
    20: Reason.SCHEMA,  # NUMBER_OF_COLUMNS_DOESNT_MATCH
    47: Reason.SCHEMA,  # UNKNOWN_IDENTIFIER
    50: Reason.SCHEMA,  # UNKNOWN_TYPE
    60: Reason.SCHEMA,  # UNKNOWN_TABLE
    81: Reason.SCHEMA,  # UNKNOWN_DATABASE
    6: Reason.DATA,  # CANNOT_PARSE_TEXT
    27: Reason.DATA,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
    33: Reason.DATA,  # CANNOT_READ_ALL_DATA
    53: Reason.DATA,  # TYPE_MISMATCH
    69: Reason.DATA,  # ARGUMENT_OUT_OF_BOUND
    70: Reason.DATA,  # CANNOT_CONVERT_TYPE
    117: Reason.DATA,  # INCORRECT_DATA
    128: Reason.DATA,  # TOO_LARGE_ARRAY_SIZE
    131: Reason.DATA,  # TOO_LARGE_STRING_SIZE
    190: Reason.DATA,  # SIZES_OF_ARRAYS_DONT_MATCH
    321: Reason.DATA,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    349: Reason.DATA,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    469: Reason.DATA,  # VIOLATED_CONSTRAINT
}

_NEVER_PASSES: Final = frozenset({Reason.SCHEMA, Reason.DATA})


class ClickHouseUnavailableError(UnavailableError):
    """ClickHouse does not answer, or cannot now: waiting helps."""

    def __init__(self, what: str, where: str, reason: Reason, code: int | None = None) -> None:
        super().__init__(what, where, _todo(what) if reason is Reason.UNREACHABLE else "")
        self.reason = reason
        self.code = code


def _todo(what: str) -> str:
    if "certificate" in what.lower():
        return "clickhouse.ssl_ca_file in the settings names the authority to believe; clickhouse.url the server."
    return "Is it running? 'halcyon up' starts a local one; clickhouse.url in the settings says where to look."


class ClickHouseRefusedError(HalcyonError):
    """ClickHouse answered no, and will again: the statement, the schema or the rows are wrong."""

    def __init__(self, what: str, where: str, reason: Reason, code: int | None = None, todo: str = "") -> None:
        super().__init__(what, where, todo)
        self.reason = reason
        self.code = code


def insert_error(what: str, where: str, code: int | None) -> ClickHouseUnavailableError | ClickHouseRefusedError:
    """The error for an insert that ClickHouse refused with ``code``; None is an error before anything was sent."""
    reason = Reason.OTHER if code is None else REASONS.get(code, Reason.OTHER)
    if reason is Reason.SCHEMA:
        return ClickHouseRefusedError(what, where, reason, code, "Run 'halcyon migrate', then start the stage again.")
    if reason in _NEVER_PASSES:
        return ClickHouseRefusedError(what, where, reason, code)
    return ClickHouseUnavailableError(what, where, reason, code)
