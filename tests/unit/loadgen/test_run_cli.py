import pytest

from loadgen.__main__ import run


def test_a_scenario_that_does_not_exist_is_answered_with_those_that_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "nonsense"]) == 1
    said = capsys.readouterr().err
    assert "nonsense" in said
    assert "demo" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kafka", "sasl.mechanism"], "name=value"),
        (["--late-ratio", "7"], "late"),
        (["--speed", "0"], "speed"),
        (["--encoding", "xml"], "arrow"),
    ],
)
def test_what_cannot_be_used_is_named(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "demo", *options]) == 2
    assert words in capsys.readouterr().err
