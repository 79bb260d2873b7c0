"""Silences: who asked not to be told, for which labels, until when."""

import functools
import re
from collections.abc import Iterable, Mapping

from streams.alert.state import Matcher, Silence


def matches(matcher: Matcher, labels: Mapping[str, str]) -> bool:
    """Whether the labels meet the condition; a label that is absent has the value ``""``.

    Examples
    --------
    >>> matches(Matcher("model", "fraud-.*", is_regex=True), {"model": "fraud-v2"})
    True
    >>> matches(Matcher("model", "fraud", is_equal=False), {"model": "fraud"})
    False
    """
    value = labels.get(matcher.name, "")
    found = bool(_compiled(matcher.value).fullmatch(value)) if matcher.is_regex else value == matcher.value
    return found is matcher.is_equal


def silencing(silences: Iterable[Silence], labels: Mapping[str, str], at_ms: int) -> list[str]:
    """Ids of the silences that hold for these labels at this event time, sorted.

    A silence without a matcher holds for nothing: silencing everything must be asked for (``alertname`` =~ ``.*``).
    """
    return sorted(
        silence.id
        for silence in silences
        if silence.starts_ms <= at_ms < silence.ends_ms
        and silence.matchers
        and all(matches(matcher, labels) for matcher in silence.matchers)
    )


def is_valid(silence: Silence) -> bool:
    """Whether the silence has an id, spans some time and its regular expressions compile."""
    try:
        for matcher in silence.matchers:
            if matcher.is_regex:
                _compiled(matcher.value)
    except re.error:
        return False
    return bool(silence.id) and silence.starts_ms < silence.ends_ms


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
