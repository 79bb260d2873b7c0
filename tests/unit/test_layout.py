import ast
import re
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_socket

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "detectors", "streams", "loadgen", "deploy")
FOLDERS = {*PACKAGES, "tests", "docs", ".ci"}
LEFT_BY_TOOLS = {".git", ".venv", ".cache", ".halcyon", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
# The one module that may reach into Faust and aiokafka; its contract tests watch the signatures it overrides.
INSIDES = {"streams/transport.py"}


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def docstring_lines(node: ast.AST) -> int:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or ast.get_docstring(node) is None:
        return 0
    first = node.body[0]
    return (first.end_lineno or first.lineno) - first.lineno + 1


def length(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Lines of a definition without the docstrings in it, and of a function without its parameters.

    Explaining is free, and a command declares every option as a parameter.
    """
    first = node.lineno if isinstance(node, ast.ClassDef) else node.body[0].lineno
    whole = (node.end_lineno or node.lineno) - first + 1
    return whole - sum(docstring_lines(inner) for inner in ast.walk(node))


def definitions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_top_level_folders_are_those_fixed() -> None:
    there = {path.name for path in ROOT.iterdir() if path.is_dir()} - LEFT_BY_TOOLS
    unexpected = {name for name in there - FOLDERS if not name.endswith(".egg-info") and name not in {"build", "dist"}}
    assert unexpected == set()


def test_the_packages_are_those_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == list(PACKAGES)
    assert settings["tool"]["importlinter"]["root_packages"] == list(PACKAGES)


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_files_functions_and_classes_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    long = [
        f"{node.name}: {length(node)} lines"
        for node in definitions(path)
        if length(node) > (200 if isinstance(node, ast.ClassDef) else 50)
    ]
    assert long == []


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_every_package_folder_has_an_init(path: Path) -> None:
    assert (path.parent / "__init__.py").is_file()


def test_the_insides_of_faust_stay_in_the_transport() -> None:
    inner = re.compile(r"(faust\.(transport|app|agents|streams|tables)|aiokafka\.(consumer|client|coordinator))(\.|$)")
    offenders = {
        ids(path): name for path in SOURCES if ids(path) not in INSIDES for name in imports(path) if inner.match(name)
    }
    assert offenders == {}


def test_unit_tests_reach_no_network() -> None:
    with pytest.warns(UserWarning, match="socket"), pytest.raises(pytest_socket.SocketBlockedError):
        socket.socket(socket.AF_INET)


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)


def test_constraints_pin_exact_versions_from_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line)] == []


def test_every_dependency_has_a_reason_and_a_pin() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *(name for names in extras.values() for name in names)]
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    for requirement in declared:
        name = re.split(r"[\[<>=!~]", requirement)[0]
        assert f"\n{name}==" in pinned, name
    reasonless = [
        r
        for r in [*project["dependencies"], *extras["local"], *extras["ml"]]
        if f'"{r}",' in text and not re.search(rf'"{re.escape(r)}",\s+# \S', text)
    ]
    assert reasonless == []


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
