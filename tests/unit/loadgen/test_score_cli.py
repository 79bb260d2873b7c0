import subprocess
import sys

import pytest

from loadgen.__main__ import COMMANDS, run


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert run([name, "--help"]) == 0
        assert "Usage: halcyon-loadgen" in capsys.readouterr().out


def test_an_unknown_command_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scroe"]) == 2
    assert "scroe" in capsys.readouterr().err


def test_only_the_called_command_is_imported() -> None:
    seen = (
        "import sys; from loadgen.__main__ import run; run(['--help']); print('loadgen.score.picture' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert shown.stdout.rstrip().endswith("False")
