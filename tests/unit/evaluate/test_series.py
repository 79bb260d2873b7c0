from pathlib import Path

import numpy as np
import pytest

from streams.errors import ConfigError
from streams.evaluate.series import read_csv, read_nab, runs


def written(tmp_path: Path, text: str, name: str = "s.csv") -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_become_windows(tmp_path: Path) -> None:
    rows = "".join(f"2024-01-01 00:0{i}:00,{i},{label}\n" for i, label in enumerate([0, 1, 1, 0, 0, 1]))
    read = read_csv(written(tmp_path, "timestamp,value,label\n" + rows))
    assert read.windows.tolist() == [[1, 2], [5, 5]]
    assert np.diff(read.ts_ms).tolist() == [60_000] * 5
    assert read.value.tolist() == [0, 1, 2, 3, 4, 5]


def test_times_may_be_ms_and_values_may_be_missing(tmp_path: Path) -> None:
    read = read_csv(written(tmp_path, "timestamp,value\n1000,1.5\n2000,\n"))
    assert read.ts_ms.tolist() == [1000, 2000]
    assert np.isnan(read.value[1])
    assert not len(read.windows)


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("", "no rows with a timestamp", "s.csv"),
        ("time_of_day,value\n1,1\n", "no rows with a timestamp", "s.csv"),
        ("timestamp,value\nyesterday,1\n", "'yesterday' is no time", "line 2"),
        ("timestamp,value\n1,1\n2,many\n", "'many' is no number", "line 3"),
        ("timestamp,value\n1,1\n3,1\n2,1\n", "go back", "line 4"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_and_where(tmp_path: Path, text: str, what: str, where: str) -> None:
    with pytest.raises(ConfigError, match=what) as raised:
        read_csv(written(tmp_path, text))
    assert where in raised.value.where
    assert raised.value.todo


def test_the_benchmark_is_read_by_its_windows(tmp_path: Path) -> None:
    written(tmp_path, "timestamp,value\n" + "".join(f"2024-01-01 00:0{i}:00,1\n" for i in range(6)), "data/a/x.csv")
    windows = '{"a/x.csv": [["2024-01-01 00:02:00.000000", "2024-01-01 00:03:00.000000"]], "a/gone.csv": []}'
    written(tmp_path, windows, "labels/combined_windows.json")
    (file,) = read_nab(tmp_path)
    assert (file.name, file.windows.tolist()) == ("a/x.csv", [[2, 3]])


def test_a_folder_without_the_benchmark_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="windows are not there"):
        read_nab(tmp_path)


def test_runs() -> None:
    assert runs(np.array([True, False, True, True])).tolist() == [[0, 0], [2, 3]]
    assert runs(np.zeros(0, np.bool_)).shape == (0, 2)
