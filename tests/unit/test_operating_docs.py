"""What operators read must name what there is."""

import re
from pathlib import Path

from streams.cli.commands import COMMANDS
from streams.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "operating.md").read_text()


def test_every_metric_is_explained_and_no_other() -> None:
    declared = set()
    for metric in Metrics().registry.collect():
        if metric.name.startswith("halcyon_"):
            declared.add(metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, ""))
    explained = set(re.findall(r"\bhalcyon_[a-z_]+[a-z]", TEXT)) - {"halcyon_again"}
    assert explained == declared


def test_commands_and_knobs_exist() -> None:
    commands = set(re.findall(r"^halcyon (?:--config \S+ )?([a-z-]+)", TEXT, re.MULTILINE))
    commands |= set(re.findall(r"`halcyon ([a-z-]+)", TEXT))
    assert {"rewind", "topics", "baseline"} <= commands <= set(COMMANDS)
    reference = (ROOT / "docs" / "configuration.md").read_text()
    sections = "kafka|topics|time|caps|segments|baseline|decision|alerts|clickhouse|web|health"
    for knob in set(re.findall(rf"`((?:{sections})\.[a-z_]+)`", TEXT)):
        assert f"`{knob}`<br>" in reference, knob


def test_links_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    }
    for anchor in re.findall(r"\]\(#([a-z-]+)\)", TEXT):
        assert anchor in headings, anchor
