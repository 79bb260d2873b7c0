import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadgen import truth
from loadgen.__main__ import COMMANDS, run
from schemas import alerts
from tests.unit.loadgen.test_score_card import TRUTHS, alert


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A truth of one fault; alerts that find it and one that is false."""
    said = (alert(780), alert(100, severity="warning", id_="b"))
    (tmp_path / "truth.jsonl").write_bytes(b"".join(truth.encode(one) + b"\n" for one in TRUTHS))
    (tmp_path / "alerts.jsonl").write_bytes(b"".join(alerts.encode(one) + b"\n\n" for one in said))
    return str(tmp_path / "truth.jsonl"), str(tmp_path / "alerts.jsonl")


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert run([name, "--help"]) == 0
        assert "Usage: halcyon-loadgen" in capsys.readouterr().out


def test_an_unknown_command_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scroe"]) == 2
    assert "scroe" in capsys.readouterr().err


def test_what_a_command_needs_is_imported_when_it_runs() -> None:
    seen = "from loadgen.__main__ import run; run(['--help']); import sys; print('loadgen.score.totals' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert shown.stdout.rstrip().endswith("False")


def test_files_are_scored(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written, drawn = tmp_path / "account.json", tmp_path / "run.svg"
    arguments = ["score", "--truth", files[0], "--alerts", files[1], "--json", str(written), "--picture", str(drawn)]
    assert run(arguments) == 0
    assert "recall 100%, precision 50%" in capsys.readouterr().out.replace("\n", " ")
    told = json.loads(written.read_bytes())
    assert told["total"]["recall"] == 1.0
    assert told["total"]["false"]["tickets"] == 1
    assert told["as_many"]["every_windows"] > 1
    assert drawn.read_text().startswith("<svg")


def test_more_entities_and_time_make_more_model_days(files: tuple[str, str], tmp_path: Path) -> None:
    def days(*more: str) -> float:
        path = tmp_path / "account.json"
        assert run(["score", "--truth", files[0], "--alerts", files[1], "--json", str(path), *more]) == 0
        return float(json.loads(path.read_bytes())["total"]["model_days"])

    span = ("--start", "2026-05-28T00:00:00Z", "--end", "2026-05-30T00:00:00Z")
    assert days(*span) == pytest.approx(2.0)
    assert days(*span, "--entity", "chat", "--entity", "host-7") == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"--truth": "absent.jsonl"}, 1, ["absent.jsonl cannot be read"]),
        ({"--truth": "{bad"}, 1, ["line 1", "not a ground truth"]),
        ({"--alerts": '{"id": 7}'}, 1, ["line 1", "Expected `str`"]),
        ({"--start": "yesterday"}, 2, ["'yesterday' is not a time"]),
        ({"--start": "2030-01-01T00:00:00Z"}, 1, ["nothing was injected and nothing was said"]),
        ({"--start": "2026-05-28T20:27:00Z", "--end": "2026-05-28T20:26:00Z"}, 2, ["--end must come after --start"]),
        ({"--picture": "no/such/folder/run.svg"}, 1, ["run.svg cannot be written"]),
        ({"--truth": None}, 2, ["give a file with --truth"]),
        ({"--truth": None, "--bootstrap": "127.0.0.1:1", "--kafka": "acks"}, 2, ["name=value"]),
    ],
)
def test_what_cannot_be_scored_is_told_without_a_traceback(
    wrong: dict[str, str | None],
    code: int,
    words: list[str],
    files: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given: dict[str, str | None] = {"--truth": files[0], "--alerts": files[1]}
    for option, value in wrong.items():
        if value is not None and value.startswith("{"):
            (tmp_path / "bad.jsonl").write_text(value + "\n")
            given[option] = str(tmp_path / "bad.jsonl")
        else:
            given[option] = value if value is None or "/" not in value else str(tmp_path / value)
    arguments = [part for option, value in given.items() if value is not None for part in (option, value)]
    assert run(["score", *arguments]) == code
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    for word in words:
        assert word in said
    assert "Traceback" not in said
