"""Pictures that stand on their own: SVG without fonts or scripts, readable on light and on dark paper.

Drawn with matplotlib, which the extra ``plots`` brings; it is loaded when the first picture is drawn.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from loadgen.columns import Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: Final = ("#3b82c4", "#d9822b", "#2f9e6e", "#b4519e", "#8a7a2f", "#c24d4d")
"""Told apart by people who do not see all colours, and of middle brightness, for either paper."""
GREY: Final = "#808080"
_POINTS: Final = 600
_DATE: Final = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the x axis that is shaded, and its name."""

    first: float
    last: float
    name: str = ""


def lines(
    series: Mapping[str, tuple[Sequence[float] | Floats, Sequence[float] | Floats]],
    *,
    x: str,
    y: str,
    spans: Sequence[Span] = (),
    bound: float | None = None,
    size_inches: tuple[float, float] = (9.0, 2.6),
) -> str:
    """Series over one axis, as SVG: name → (x, y). More than 600 points are drawn as medians of neighbours."""
    figure, axes = _figure(size_inches)
    for span in spans:
        axes.axvspan(span.first, span.last, color=GREY, alpha=0.22, linewidth=0)
    for colour, (name, (at, values)) in zip(_cycle(len(series)), series.items(), strict=True):
        axes.plot(*_thinned(np.asarray(at), np.asarray(values)), color=colour, linewidth=1.2, label=name)
    if bound is not None:
        axes.axhline(bound, color=GREY, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    if len(series) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, labelcolor=GREY, fontsize=9)
    return _svg(figure)


def bars(groups: Mapping[str, Mapping[str, float]], *, y: str, size_inches: tuple[float, float] = (9.0, 3.2)) -> str:
    """Bars side by side, as SVG: series → label → height; labels are those of the first series."""
    figure, axes = _figure(size_inches)
    labels = list(next(iter(groups.values())))
    width = 0.8 / len(groups)
    for place, (colour, (name, heights)) in enumerate(zip(_cycle(len(groups)), groups.items(), strict=True)):
        at = np.arange(len(labels)) + (place - (len(groups) - 1) / 2) * width
        axes.bar(at, [heights.get(label, 0.0) for label in labels], width * 0.92, color=colour, label=name)
    axes.set_xticks(np.arange(len(labels)), labels)
    axes.set_ylabel(y)
    if len(groups) > 1:
        axes.legend(frameon=False, labelcolor=GREY, fontsize=9)
    return _svg(figure)


def panels(
    x: Floats,
    series: Mapping[str, Floats],
    *,
    x_label: str,
    spans: Sequence[Span] = (),
    bounds: Mapping[str, float] | None = None,
    size_inches: tuple[float, float] = (9.0, 1.7),
) -> str:
    """Series one beneath the other over the same axis, as SVG: name → y; ``bounds`` are dashed, ``size_inches`` of one.

    Of more than 600 points the lowest and highest of neighbours are drawn: a single spike stays.
    """
    figure = _blank((size_inches[0], size_inches[1] * len(series)))
    stacked = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
    for axes, colour, (name, y) in zip(stacked, _cycle(len(series)), series.items(), strict=True):
        _plain(axes)
        for span in spans:
            axes.axvspan(span.first, span.last, color=GREY, alpha=0.22, linewidth=0)
        axes.plot(*_extremes(x, y), color=colour, linewidth=0.9)
        if bounds is not None and name in bounds:
            axes.axhline(bounds[name], color=GREY, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.set_ylabel(name)
    stacked[-1].set_xlabel(x_label)
    return _svg(figure)


def _figure(size_inches: tuple[float, float]) -> tuple["Figure", Any]:
    figure = _blank(size_inches)
    axes = figure.add_subplot()
    _plain(axes)
    return figure, axes


def _blank(size_inches: tuple[float, float]) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=size_inches, layout="constrained")


def _plain(axes: Any) -> None:  # noqa: ANN401 - matplotlib is no dependency of the types
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(colors=GREY, labelsize=9)
    axes.xaxis.label.set_color(GREY)
    axes.yaxis.label.set_color(GREY)
    axes.grid(visible=True, axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def _cycle(n: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(n)]


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    if len(x) <= _POINTS:
        return x, y
    at, values = np.array_split(x, _POINTS), np.array_split(y, _POINTS)
    return np.array([np.median(part) for part in at]), np.array([np.median(part) for part in values])


def _extremes(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    known = np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) <= 2 * _POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), _POINTS)
    kept = np.unique([part[pick(y[part])] for part in parts for pick in (np.argmin, np.argmax)])
    return x[kept], y[kept]


def _svg(figure: "Figure") -> str:
    import matplotlib as mpl

    text = io.StringIO()
    # Text stays text, and the same data give the same bytes.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "halcyon", "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", transparent=True)
    svg = text.getvalue()
    return _DATE.sub("", svg[svg.index("<svg") :])
