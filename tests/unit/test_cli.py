import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer

from streams.cli import app as app_module
from streams.cli import commands
from streams.cli.app import program_version, run
from streams.cli.commands import COMMANDS, Entry
from streams.cli.context import err, out
from streams.errors import BackpressureError, ConfigError, HalcyonError, UnavailableError

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "faust",
    "aiokafka",
    "confluent_kafka",
    "chdb",
    "clickhouse_connect",
    "pyarrow",
    "numpy",
    "river",
    "pyod",
    "pydantic",
}


@pytest.fixture(autouse=True)
def _consoles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Consoles are made once a process; a test needs those of its captured streams, and no file found by chance."""
    out.cache_clear()
    err.cache_clear()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def add_command(monkeypatch: pytest.MonkeyPatch, **attributes: object) -> None:
    module = ModuleType("made_up_command")
    module.__spec__ = __import__("importlib.machinery").machinery.ModuleSpec("made_up_command", None)
    for name, value in attributes.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "made_up_command", module)
    monkeypatch.setattr(commands, "COMMANDS", {"made-up": Entry("made_up_command", "Made up.", "Run")})


def failing(error: BaseException) -> dict[str, object]:
    def command() -> None:
        raise error

    return {"command": command}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"halcyon {program_version()}\n"


def test_help_lists_what_exists_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, entry in COMMANDS.items():
        assert (entry.help in shown) is entry.exists(), name
    assert "halcyon.yaml" in shown


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, json; from streams.cli.app import run; run(['--help']);"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert "typer" in imported
    assert imported & HEAVY == set()


@pytest.mark.parametrize("name", [name for name, entry in COMMANDS.items() if entry.exists()])
def test_each_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert f"halcyon {name}" in capsys.readouterr().out


def test_modules_stand_beside_the_table() -> None:
    assert {entry.module for entry in COMMANDS.values()} == {
        f"streams.cli.{name.replace('-', '_')}" for name in COMMANDS
    }


@pytest.mark.parametrize("arguments", [["confg"], ["--nope"], ["config", "shwo"], ["config", "show", "--nope"]])
def test_a_wrong_call_is_2_without_a_traceback(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err


def test_a_typing_error_is_answered_with_the_nearest_command(capsys: pytest.CaptureFixture[str]) -> None:
    run(["confg"])
    assert "Did you mean 'config'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HalcyonError("It [broke].", "there", "Mend it."), 1),
        (UnavailableError("It [broke].", "there", "Mend it."), 1),
        (BackpressureError("It [broke].", "there", "Mend it.", retry_after_s=2), 1),
        (ConfigError("It [broke].", "there", "Mend it."), 2),
    ],
)
def test_errors_say_what_where_and_what_to_do(
    error: HalcyonError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_command(monkeypatch, **failing(error))
    assert run(["made-up"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["error: It [broke].", "  where: there", "  to do: Mend it."]


def test_unforeseen_errors_have_no_traceback_either(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_command(monkeypatch, **failing(KeyError("x")))
    assert run(["made-up"]) == 1
    said = capsys.readouterr().err
    assert "error: KeyError: 'x'" in said
    assert "--debug" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("error", [KeyError("x"), ConfigError("It broke.")])
def test_debug_lets_the_traceback_through(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    add_command(monkeypatch, **failing(error))
    with pytest.raises(type(error)):
        run(["--debug", "made-up"])


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    add_command(monkeypatch, **failing(KeyboardInterrupt()))
    assert run(["made-up"]) == 130


def test_exit_codes_of_commands_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    add_command(monkeypatch, **failing(typer.Exit(3)))
    assert run(["made-up"]) == 3


def test_a_function_is_a_command_with_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(what: str, times: int = 1) -> None:
        """Say it."""
        typer.echo(what * times)

    add_command(monkeypatch, command=command)
    assert run(["made-up", "ab", "--times", "2"]) == 0
    assert capsys.readouterr().out == "abab\n"


def test_a_module_that_does_not_exist_is_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "COMMANDS", {"ghost": Entry("streams.cli.no_such_module", "Not there.", "Run")})
    assert run(["ghost"]) == 2


def test_config_check_names_the_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.yaml").write_text("kafka: {bootstrap_server: x}\n")
    assert run(["--config", "bad.yaml", "config", "check"]) == 2
    said = capsys.readouterr().err
    assert "kafka.bootstrap_server (bad.yaml): unknown; did you mean kafka.bootstrap_servers?" in said
    assert "config reference" in said
    monkeypatch.setenv("HALCYON_KAFKA__BOOTSTRAP_SERVERS", "broker:1")
    assert run(["config", "check", "--offline"]) == 0
    assert "broker:1" in capsys.readouterr().out


def test_config_show_hides_secrets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALCYON_CLICKHOUSE__PASSWORD", "correct horse")
    assert run(["config", "show"]) == 0
    shown = capsys.readouterr().out
    assert "correct horse" not in shown
    assert "password: '**********'" in shown


def test_config_reference_is_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "reference"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [["config", "reference"], ["config", "check", "--offline"], ["--help"]])
def test_it_ends_quietly_when_its_reader_is_gone(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "streams", *arguments],
            cwd=ROOT,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.stderr == ""


def test_the_program_exits_with_the_code() -> None:
    done = subprocess.run([sys.executable, "-m", "streams", "nope"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 2


def test_the_version_of_sources_that_were_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "DISTRIBUTION", "halcyon-not-installed")
    assert program_version() == "unknown"
