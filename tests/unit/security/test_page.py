"""The page about security says what the code does."""

import re
from pathlib import Path

import pytest

from streams.acls import READ, WRITE, Acl, acls_of, as_command
from streams.cli.app import run
from streams.config import Settings, load_settings
from streams.supervisor import STAGES

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


@pytest.mark.parametrize("stage", STAGES)
def test_the_rights_on_the_page_are_those_of_the_code(stage: str) -> None:
    (row,) = re.findall(rf"^\| {stage} \| (.*) \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
    reads, writes, group = map(names, row)
    written = {Acl("topic", name, READ) for name in reads} | {Acl("topic", name, WRITE) for name in writes}
    assert written | {Acl("group", name, READ) for name in group} == set(acls_of(stage, Settings()))


def test_every_test_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`((?:tests/)?[\w/]*test_\w+\.py)(?:::(\w+))?`", PAGE))
    assert len(named) > 10
    for file, function in named:
        found = list((ROOT / "tests").rglob(Path(file).name))
        assert len(found) == 1, file
        assert function in found[0].read_text(encoding="utf-8"), function


def test_the_bounds_on_the_page_are_the_defaults() -> None:
    settings = Settings()
    shown = dict(re.findall(r"`((?:caps|kafka|alerts)\.\w+)`,? ([\d,]+)(?!\d| ?[MK]iB| ?Mi)", PAGE))
    assert len(shown) >= 8
    for knob, number in shown.items():
        section, _, name = knob.partition(".")
        assert getattr(getattr(settings, section), name) == int(number.replace(",", "")), knob
    large = re.findall(r"`((?:caps|kafka)\.\w+)`, (\d+) (Ki|Mi)B?", PAGE)
    assert len(large) >= 4
    for knob, number, unit in large:
        section, _, name = knob.partition(".")
        assert getattr(getattr(settings, section), name) == int(number) << {"Ki": 10, "Mi": 20}[unit], knob


def test_rights_follow_prefixes_and_names() -> None:
    settings = load_settings(
        env={}, overrides={"kafka": {"topic_prefix": "b.", "source_prefix": "a.", "client_id": "h"}}
    )
    found = {(acl.kind, acl.name) for acl in acls_of("ingest", settings)}
    assert {("topic", "a.predictions"), ("topic", "b.panes"), ("group", "b.h-ingest")} <= found
    assert not {name for _, name in found if not name.startswith(("a.", "b."))}


def test_the_command_prints_what_kafka_s_own_tool_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topics", "acls", "--stage", "write", "--principal", "User:CN={stage}, O=x"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [as_command(acl, "User:CN=write, O=x") for acl in acls_of("write", Settings())]
    assert lines[0] == (
        "kafka-acls.sh --add --allow-principal 'User:CN=write, O=x' --operation read --group halcyon-write"
    )
    assert run(["topics", "acls", "--stage", "wirte"]) == 2
