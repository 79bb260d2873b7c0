"""Types that several message families share."""

from typing import Annotated, Final

from msgspec import Meta

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

TimeMs = Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX, description="Milliseconds since 1970-01-01 UTC.")]
NonNegative = Annotated[float, Meta(ge=0)]
Ratio = Annotated[float, Meta(ge=0, le=1)]

Value = float | str | bool | None
"""What a feature or a segment may hold. Whole numbers are read as floats."""
