import json
from pathlib import Path

import numpy as np
import pytest

from streams.cli.app import run
from streams.cli.context import err, out

ROOT = Path(__file__).resolve().parents[3]
NAB = ROOT.parent / "shared" / "data" / "nab"


@pytest.fixture(autouse=True)
def _consoles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out.cache_clear()
    err.cache_clear()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def labelled(path: Path) -> Path:
    value = np.random.default_rng(1).normal(size=500)
    value[400:405] += 25
    lines = [f"{60_000 * row},{number},{int(400 <= row < 405)}" for row, number in enumerate(value.tolist())]
    path.write_text("\n".join(["timestamp,value,label", *lines]), encoding="utf-8")
    return path


def test_a_file_with_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = labelled(tmp_path / "metric.csv")
    asked = ["evaluate", "series", str(file), "-d", "series_surprise", "-d", "river_gaussian", "--first", "120"]
    assert run([*asked, "--json", "told.json", "--pictures", "drawn"]) == 0
    shown = capsys.readouterr().out
    assert "500 rows, 1 anomalies" in shown
    told = {one["detector"]: one for one in json.loads((tmp_path / "told.json").read_bytes())["outcomes"]}
    assert list(told) == ["series_surprise", "river_gaussian", "periodic", "fixed_limit", "rolling_z"]
    assert told["series_surprise"]["recall"] == told["rolling_z"]["recall"] == 1
    assert "alarms of series_surprise: 1970-01-01 06:40:00\n" in shown
    assert "<svg" in (tmp_path / "drawn" / "metric-series_surprise.svg").read_text(encoding="utf-8")


def test_a_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "g").mkdir(parents=True)
    labelled(tmp_path / "data" / "g" / "a.csv")
    window = [["1970-01-01 06:40:00", "1970-01-01 06:44:00"]]
    (tmp_path / "windows.json").write_text(json.dumps({"g/a.csv": window}), encoding="utf-8")
    assert run(["evaluate", "nab", str(tmp_path), "-d", "rolling_z", "--json", "told.json"]) == 0
    assert "1 files, 1 anomalies" in capsys.readouterr().out
    scores = {one["detector"]: one for one in json.loads((tmp_path / "told.json").read_bytes())["scores"]}
    assert scores["rolling_z"]["by_alarms"]["standard"] == pytest.approx(100)
    assert list((tmp_path / ".cache" / "evaluate").glob("rolling_z-*.bin"))


def test_a_drift_stream(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", "drift", "--stream", "sea_none", "--rows", "4000", "--window-rows", "20", "--seed", "1"]
    assert run([*asked, "-d", "rolling_z"]) == 0
    assert "sea_none: 1 streams of 200 windows" in capsys.readouterr().out


@pytest.mark.slow
def test_a_scenario_with_some_detectors_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", "suite", "--scenario", "suite-gpu", "--until-s", "900", "-d", "gpu_xid", "--json", "told.json"]
    assert run(asked) == 0
    assert "Account of" in capsys.readouterr().out
    assert json.loads((tmp_path / "told.json").read_bytes())["runs"] == 1


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (["series", "gone.csv"], "cannot be read"),
        (["nab", "."], "windows are not there"),
        (["drift", "--stream", "sea"], "no stream sea"),
        (["drift", "-d", "oracle"], "no detector oracle"),
        (["suite", "-d", "rolling_z"], "No detector rolling_z is registered"),
    ],
)
def test_what_cannot_be_done_is_told(asked: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", *asked]) == 2
    assert what in capsys.readouterr().err


@pytest.mark.slow
def test_the_default_is_ahead_of_the_windowed_gaussian_on_the_benchmark(tmp_path: Path) -> None:
    if not NAB.is_dir():
        pytest.skip(f"the benchmark is not at {NAB}")
    assert run(["evaluate", "nab", str(NAB), "-d", "series_surprise", "--no-cache", "--json", "told.json"]) == 0
    scores = {one["detector"]: one for one in json.loads((tmp_path / "told.json").read_bytes())["scores"]}
    best = max(one["by_alarms"]["standard"] for name, one in scores.items() if name != "series_surprise")
    assert scores["series_surprise"]["by_alarms"]["standard"] > best + 10


def test_noise_raises_what_it_raises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", "noise", "-d", "periodic", "--rows", "2648", "--seed", "1", "--json", "told.json"]
    assert run([*asked, "--threshold", "512", "--threshold", "4096"]) == 0
    told = json.loads((tmp_path / "told.json").read_bytes())
    # Rows 1,024, 1,536, 2,048 and 2,560 of the 2,048 that count; the first is 512, before they do.
    assert told["all"]["512"] == pytest.approx(10_000 * 4 / 2_048)
    assert told["poisson"]["4096"] == 0
    assert run(["evaluate", "noise", "-d", "river_loda"]) == 2
    assert "no threshold of its own" in capsys.readouterr().err
