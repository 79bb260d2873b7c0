"""A soak test's report: one HTML file that opens without a network, verdict first."""

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np

from loadgen import plots
from loadgen.plots import Span
from loadgen.soak.recording import HeardDelays, Recording, column, delays
from loadgen.soak.verdict import Check, total_lag

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
.passed { color: #2f9e6e; } .failed { color: #c24d4d; }
table { border-collapse: collapse; width: 100%; } td { padding: .15rem .6rem .15rem 0; vertical-align: top; }
td:first-child { width: 1.5rem; } svg { width: 100%; height: auto; } small, .note { color: #808080; }
"""
_MINUTE_S: Final = 60.0


def html(recording: Recording, checks: Sequence[Check]) -> str:
    """The whole report."""
    begun = recording.begun
    passed = all(check.ok for check in checks)
    hours = begun.duration_s / 3600
    events = max((load.events for load in recording.loads), default=0)
    head = (
        f"{hours:.2g} h at {begun.rate_per_s:,.0f} events/s, {begun.rate_per_s / begun.capacity_per_s:.0%} of the "
        f"{begun.capacity_per_s:,.0f} events/s that this installation was measured to sustain; {events:,} events, "
        f"scenario {begun.scenario}, seed {begun.seed}."
    )
    parts = [
        f"<p>{escape(head)}<br><small>{escape(begun.machine)}</small></p>",
        f"<h2>Checks</h2><table>{''.join(_row(check) for check in sorted(checks, key=lambda c: c.ok))}</table>",
        f"<h2>End to end</h2><p>{escape(_latency(delays(recording)))}</p>",
        *(f"<h2>{escape(title)}</h2>{picture}" for title, picture in _pictures(recording)),
        f'<p class="note">{escape(_note(recording))}</p>',
    ]
    word, mark = ("passed", "passed") if passed else ("failed", "FAILED")
    title = f'Soak test <span class="{word}">{mark}</span>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Halcyon soak test</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>{''.join(parts)}</body></html>\n"
    )


def _row(check: Check) -> str:
    sign, word = ("✓", "passed") if check.ok else ("✗", "failed")
    return f'<tr><td class="{word}">{sign}</td><td>{escape(check.words)}</td></tr>'


def _latency(found: HeardDelays) -> str:
    if not found.seconds:
        return "No alert fired: nothing to time from end to end."
    p50, p99 = np.quantile(found.seconds, [0.5, 0.99])
    return (
        f"From the end of the window an alert speaks of to its consumer: p50 {p50:.1f} s, p99 {p99:.1f} s, "
        f"{len(found.seconds)} firing events."
    )


def _note(recording: Recording) -> str:
    faults = ", ".join(dict.fromkeys(truth.name for truth in recording.truths)) or "none"
    warm_up = f"The first {recording.begun.warm_up_s / _MINUTE_S:.0f} minutes are warm-up and not judged."
    return f"Shaded: a fault is injected ({faults}). {warm_up}"


def _pictures(recording: Recording) -> list[tuple[str, str]]:
    start_s = recording.begun.at_s
    spans = [
        Span((t.onset_ms / 1000 - start_s) / _MINUTE_S, (t.end_ms / 1000 - start_s) / _MINUTE_S, t.name)
        for t in recording.truths
    ]

    def over_time(y: str, series: dict[str, tuple[Sequence[float], Sequence[float]]]) -> str:
        shifted = {
            name: ((np.asarray(at) - start_s) / _MINUTE_S, values) for name, (at, values) in series.items() if len(at)
        }
        return plots.lines(shifted, x="minutes", y=y, spans=spans) if shifted else "<p>No readings.</p>"

    def of_workers(name: str, scale: float = 1.0) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
        return {
            worker: (column(readings, "at_s"), [value * scale for value in column(readings, name)])
            for worker, readings in sorted(recording.readings.items())
        }

    times, lag = total_lag(recording)
    heard = delays(recording)
    loads = recording.loads
    return [
        ("Lag", over_time("messages", {"all stages": (times.tolist(), lag.tolist())})),
        ("Resident memory", over_time("MB", of_workers("rss_bytes", 1e-6))),
        ("CPU", over_time("cores", {w: _cores(*s) for w, s in of_workers("cpu_s").items()})),
        ("Watermark delay", over_time("s", of_workers("watermark_delay_s"))),
        ("From the end of a window to its alert", over_time("s", {"alerts": (heard.at_s, heard.seconds)})),
        ("Open windows", over_time("windows", of_workers("open_windows"))),
        ("Open files", over_time("files", of_workers("open_files"))),
        ("Threads", over_time("threads", of_workers("threads"))),
        ("The generator's own delay", over_time("s", {"": ([x.at_s for x in loads], [x.behind_s for x in loads])})),
    ]


def _cores(at_s: Sequence[float], cpu_s: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    used = np.diff(np.asarray(cpu_s)) / np.maximum(np.diff(np.asarray(at_s)), 1e-9)
    return list(at_s[1:]), np.maximum(used, 0.0).tolist()
