import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loadgen.replay.errors import ReplayError
from loadgen.replay.events import prepare, shift_to
from loadgen.replay.source import BATCH_ROWS, Scan

HEADER = "at,took,amount,country,note"
ROWS = (
    "2026-05-01T12:00:00,0.5,10.5,DE,a",
    "2026-05-01T12:00:01,1.5,,FR,",
    "2026-05-01T12:00:02,2.5,30,PL,7",
)
MAPS = ("ts_ms=at", "model=const:m", "latency_ms=took:s", "features.amount=amount", "segment.country=country")
NOON_MS = int(datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp() * 1000)


def csv(folder: Path, *rows: str, header: str = HEADER, name: str = "events.csv") -> Path:
    file = folder / name
    text = "\n".join((header, *rows)) + "\n"
    if name.endswith(".gz"):
        file.write_bytes(gzip.compress(text.encode()))
    else:
        file.write_text(text)
    return file


def played(file: Path, *maps: str, family: str = "predictions", **more: Any) -> list[dict[str, Any]]:
    return [json.loads(message.value) for message in prepare(file, family, maps, **more).messages()]


@pytest.mark.parametrize("name", ["events.csv", "events.csv.gz"])
def test_columns_go_where_they_are_mapped(tmp_path: Path, name: str) -> None:
    first, second, third = played(csv(tmp_path, *ROWS, name=name), *MAPS)
    assert first == {
        "ts_ms": NOON_MS,
        "model": "m",
        "latency_ms": 500.0,
        "features": {"amount": 10.5},
        "segment": {"country": "DE"},
        "event_id": "events-1",
    }
    assert second["features"] == {"amount": None}
    assert third["event_id"] == "events-3"


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    file = tmp_path / "events.parquet"
    at = pa.array([NOON_MS, NOON_MS + 1], pa.timestamp("ms", tz="UTC"))
    table = {"at": at, "vip": [True, None], "zone": pa.array(["a", "b"]).dictionary_encode(), "n": [1, 2]}
    pq.write_table(pa.table(table), file)
    maps = ("ts_ms=at", "model=zone", "features.vip=vip", "features.zone=zone", "features.n=n", "features.id=n:text")
    first, second = played(file, *maps)
    assert first["ts_ms"] == NOON_MS
    assert first["model"] == "a"
    assert first["features"] == {"vip": True, "zone": "a", "n": 1, "id": "1"}
    assert second["features"]["vip"] is None


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("2026-05-01T12:00:00", ""),
        ("2026-05-01 12:00:00.0000000", ""),
        ("2026-05-01T12:00:00Z", ""),
        ("2026-05-01T14:00:00+02:00", ""),
        (str(NOON_MS // 1000), ""),
        (f"{NOON_MS / 1000:.1f}", ":s"),
        (str(NOON_MS), ""),
        (str(NOON_MS * 1000), ""),
        (str(NOON_MS * 1_000_000), ":ns"),
    ],
)
def test_times_are_read_in_the_usual_forms(tmp_path: Path, text: str, unit: str) -> None:
    (event,) = played(csv(tmp_path, f"{text},1,1,DE,x"), f"ts_ms=at{unit}", "model=const:m")
    assert event["ts_ms"] == NOON_MS


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        (("ts_ms=at",), "need model"),
        (("model=const:m",), "need ts_ms"),
        (("ts_ms=att", "model=const:m"), "did you mean 'at'"),
        (("ts_ms=at", "model=const:m", "latncy_ms=took"), "did you mean 'latency_ms'"),
        (("ts_ms=at", "model=const:m", "latency_ms=took:h"), "it takes s, ms, us, ns"),
        (("ts_ms=at", "model=const:m", "score=took:s"), "no unit"),
        (("ts_ms=at", "model=const:m", "model=country"), "mapped twice"),
        (("ts_ms=at", "model=const:m", "features=amount"), "features.NAME"),
        (("ts_ms=at", "model=const:m", "model.x=amount"), "one value"),
        (("ts_ms=at", "model=const:m", "gen_ai.tokens=amount"), "gen_ai"),
        (("ts_ms=at", "model=const:m", "score=const:high"), "is a number"),
        (("ts_ms=const:1", "model=const:m"), "times of their own"),
        (("ts_ms=at", "model=const:m", "score"), "TARGET=COLUMN"),
        (("ts_ms=took", "model=const:m"), "row 1, column 'took'"),
        (("ts_ms=country", "model=const:m"), "row 1, column 'country'"),
        (("ts_ms=at", "model=const:m", "score=note"), "row 1, column 'note' .score.: 'a' is no number"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, maps: tuple[str, ...], words: str) -> None:
    with pytest.raises(ReplayError, match=words):
        played(csv(tmp_path, *ROWS), *maps)


def test_a_bad_value_far_down_is_told_with_its_row(tmp_path: Path) -> None:
    rows = [f"{NOON_MS + place},1,{place},DE,x" for place in range(BATCH_ROWS + 10)]
    rows[BATCH_ROWS + 5] = f"{NOON_MS + BATCH_ROWS + 5},1,many,DE,x"
    with pytest.raises(ReplayError, match=rf"row {BATCH_ROWS + 6}, column 'amount'.*:text keeps it"):
        played(csv(tmp_path, *rows), *MAPS)


def test_a_missing_time_is_told_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"row 2, column 'at'.*no time"):
        played(csv(tmp_path, ROWS[0], ",1,1,DE,x"), *MAPS)


@pytest.mark.parametrize("name", ["events.txt", "missing.csv"])
def test_unusable_files_are_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "events.txt").write_text("x")
    with pytest.raises(ReplayError, match=name):
        prepare(tmp_path / name, "predictions", MAPS)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="no row"):
        prepare(csv(tmp_path), "predictions", MAPS)


def test_a_torn_row_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"events\.csv"):
        prepare(csv(tmp_path, *ROWS, "2026-05-01T12:00:03,1"), "predictions", MAPS)


def test_disorder_is_measured_and_sorting_cures_it(tmp_path: Path) -> None:
    file = csv(tmp_path, ROWS[0], ROWS[2], ROWS[1])
    seen = prepare(file, "predictions", MAPS).scan
    assert (seen.rows, seen.disorder_ms, seen.disorder_row) == (3, 1000, 3)
    assert [event["ts_ms"] - NOON_MS for event in played(file, *MAPS)] == [0, 2000, 1000]
    assert [event["ts_ms"] - NOON_MS for event in played(file, *MAPS, sort=True)] == [0, 1000, 2000]


def test_disorder_across_batches_is_seen(tmp_path: Path) -> None:
    rows = [f"{NOON_MS + place},1,1,DE,x" for place in range(BATCH_ROWS)]
    rows.append(f"{NOON_MS - 4000},1,1,DE,x")
    seen = prepare(csv(tmp_path, *rows), "predictions", MAPS).scan
    assert seen.disorder_ms == BATCH_ROWS - 1 + 4000
    assert seen.disorder_row == BATCH_ROWS + 1
    assert seen.first_ms == NOON_MS - 4000


def test_a_limit_bounds_what_is_read(tmp_path: Path) -> None:
    replay = prepare(csv(tmp_path, *ROWS), "predictions", MAPS, limit=2)
    assert replay.scan.rows == len(list(replay.messages())) == 2
    assert replay.last_ms == NOON_MS + 1000


def test_other_families_have_fields_and_keys_of_their_own(tmp_path: Path) -> None:
    file = csv(tmp_path, "2026-05-01T12:00:00,0.5,97,GPU-1,x")
    maps = ("ts_ms=at", "host=const:node", "gpu_uuid=country", "utilization_ratio=amount:percent", "gpu_index=const:3")
    (message,) = prepare(file, "gpu-telemetry", maps).messages()
    event = json.loads(message.value)
    assert message.key == b"GPU-1"
    assert event["utilization_ratio"] == pytest.approx(0.97)
    with pytest.raises(ReplayError, match="holds a list"):
        prepare(file, "gpu-telemetry", (*maps, "xid=amount"))
    with pytest.raises(ReplayError, match="choose one of predictions"):
        prepare(file, "nothing", maps)


def test_anchors_move_events() -> None:
    seen = Scan(10, first_ms=1_000, last_ms=61_000, disorder_ms=0, disorder_row=0)
    assert seen.last_ms + shift_to(seen, "now", 1_000_000, speed=0) == 1_000_000
    # At ten times the pace the last of 60 s is sent 6 s from now.
    assert seen.last_ms + shift_to(seen, "now", 1_000_000, speed=10) == 1_006_000
    assert seen.first_ms + shift_to(seen, "start=2026-05-01T12:00:00Z", 0, 0) == NOON_MS
    assert seen.last_ms + shift_to(seen, "end=2026-05-01T12:00:00", 0, 0) == NOON_MS
    assert shift_to(seen, "by=-1.5", 0, 0) == -1500
    for wrong in ("then", "start=noon", "by=much"):
        with pytest.raises(ReplayError, match=wrong.partition("=")[2] or wrong):
            shift_to(seen, wrong, 0, 0)
