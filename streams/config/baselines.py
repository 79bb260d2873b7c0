"""The section ``baseline``: when baselines are learned, and again."""

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from streams.config.sections import Names, Section, split_commas

Days = Annotated[tuple[Annotated[int, Field(ge=1, le=28)], ...], NoDecode, BeforeValidator(split_commas)]


class BaselineSettings(Section):
    """When a baseline is learned from first traffic, and how much of it is kept."""

    min_rows: int = Field(
        2000, ge=100, le=1_000_000, description="Rows a scope must have shown before a baseline is learned."
    )
    min_panes: int = Field(
        10, ge=2, le=10_000, description="Panes a scope must have shown before a baseline is learned."
    )
    lead_s: int = Field(
        60,
        ge=0,
        le=86_400,
        description="Event time from learning a baseline to its first use: all partitions switch at the same pane.",
    )
    learn_days: Days = Field(
        (1, 7),
        description="Whole days of traffic after which a learned baseline is learned anew, in the same bins; empty: "
        "that of the first traffic stays.",
    )
    max_rows: int = Field(2000, ge=100, le=5000, description="Rows of the reference sample.")
    sampled_models: Names = Field(
        ("*fraud*",),
        description="Models whose rows are compared with the reference sample, to find outliers; patterns with `*`.",
    )
