"""What the code of the packages must not do, read off the code itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("schemas", "detectors", "streams", "loadgen", "deploy")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# Each turns bytes or text into something that runs.
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle", "code"}
CALLS = {
    "eval", "exec", "compile", "__import__", "yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all",
    "yaml.full_load_all", "yaml.unsafe_load_all", "pandas.read_pickle", "pd.read_pickle", "np.load", "numpy.load",
    "pa.deserialize", "pyarrow.deserialize", "pa.PyExtensionType", "pa.register_extension_type", "os.system",
    "os.popen", "subprocess.getoutput", "importlib.import_module", "import_module", "runpy.run_path",
    "runpy.run_module",
}  # fmt: skip
# The names they import stand in the code: a table of commands, the registry of detectors, NVML.
IMPORTS_BY_NAME = {
    "streams/cli/commands.py", "streams/config/parameters.py", "streams/gpu_agent/nvml.py", "loadgen/__main__.py"
}  # fmt: skip
# Builtins only: `re.compile` and the like are other things.
ADAPTED = {"river._river_rust.drift.AdaptiveWindowing", "pyod.models.iforest.IForest"}
# Detectors and streams to compare with: they live as long as a command, and are neither saved nor loaded.
COMPARED = {
    "detectors/adapters/river_anomaly.py": {
        "river.anomaly", "river.linear_model", "river.optim", "river.preprocessing", "river.time_series"
    },
    "detectors/adapters/river_streams.py": {"river.datasets.synth"},
}  # fmt: skip


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of an expression, ``""`` for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module and name that is imported, dotted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def forbidden(tree: ast.AST, path: str = "") -> list[str]:
    """What a module does that it must not."""
    found = [f"imports {name}" for name in imported(tree) if name.partition(".")[0] in MODULES]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        named = called.endswith("import_module") and path in IMPORTS_BY_NAME
        safe = any(word.arg == "Loader" and dotted(word.value) == "yaml.CSafeLoader" for word in node.keywords)
        if called in CALLS and not named and not safe:
            found.append(f"calls {called} in line {node.lineno}")
        if any(word.arg == "allow_pickle" for word in node.keywords):
            found.append(f"allows pickles in line {node.lineno}")
        if any(word.arg == "shell" for word in node.keywords):
            found.append(f"asks for a shell in line {node.lineno}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    assert forbidden(ast.parse(path.read_text(encoding="utf-8")), name_of(path)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import dill as d",
        "eval(x)",
        "exec(x)",
        "compile(x, '', 'exec')",
        "yaml.load(x)",
        "yaml.load(x, Loader=yaml.CLoader)",
        "np.load(x)",
        "open_table(x, allow_pickle=True)",
        "subprocess.run(x, shell=True)",
        "importlib.import_module(x)",
        "def f():\n    import cloudpickle",
    ],
)
def test_the_test_finds_what_it_looks_for(code: str) -> None:
    assert forbidden(ast.parse(code)) != []


def test_the_adapters_take_from_river_and_pyod_what_was_looked_at_and_nothing_else() -> None:
    """Models of these are saved and loaded as pickles: here they are rebuilt from numbers."""
    taken = {
        name
        for path in (ROOT / "detectors").rglob("*.py")
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.partition(".")[0] in {"river", "pyod"} and name not in COMPARED.get(name_of(path), set())
    }
    assert taken == ADAPTED


@pytest.mark.parametrize("name", list(COMPARED))
def test_what_is_only_compared_with_has_no_state_that_travels(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    assert {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)} & {"to_bytes", "from_bytes"} == set()


# Where clients are given addresses and credentials; a broker of one's own, on this machine, has none.
CONNECTING = {"streams/connections.py", "streams/producer.py", "deploy/local/kafka.py", "loadgen/connecting.py"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_clients_are_configured_in_one_place(path: Path) -> None:
    """A client that is made elsewhere would come without credentials, and be noticed only where brokers demand them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    keys = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        and any(isinstance(key, ast.Constant) and key.value == "bootstrap.servers" for key in node.keys)
    ]
    assert keys == [] or name_of(path) in CONNECTING
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) == "Producer" and name_of(path).startswith("streams/"):
            assert "security" in {word.arg for word in node.keywords}, f"line {node.lineno}"


SQL = ("SELECT ", "INSERT ", "ALTER ", "DELETE ", "CREATE ", "DROP ")
# Queries that are shown to people; every text in them goes through `literal`.
SHOWN = {"streams/alert/evidence.py", "streams/cli/prompt.py"}


def built(tree: ast.AST) -> list[int]:
    """Lines in which SQL is put together: by ``format``, ``%``, ``+`` or ``join``."""
    lines = []
    names = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and _holds_sql(node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }

    def is_sql(node: ast.expr) -> bool:
        return _holds_sql(node) or (isinstance(node, ast.Name) and node.id in names)

    for node in ast.walk(tree):
        formatted = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format"
        if formatted and is_sql(node.func.value):  # type: ignore[attr-defined]  # it is a call of an attribute
            lines.append(node.lineno)  # type: ignore[attr-defined]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add) and is_sql(node.left):
            lines.append(node.lineno)
    return lines


def _holds_sql(node: ast.expr) -> bool:
    parts = [node] if isinstance(node, ast.Constant) else getattr(node, "values", [])
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return any(text.startswith(SQL) for text in texts)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_sql_is_not_put_together_where_the_linter_does_not_look(path: Path) -> None:
    """Ruff's S608 sees f-strings; ``format`` of a constant it does not see."""
    if name_of(path) not in SHOWN:
        assert built(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_that_test_finds_what_it_looks_for() -> None:
    assert built(ast.parse("Q = 'SELECT {x} FROM t'\nrun(Q.format(x=1))")) == [2]
    assert built(ast.parse("run('SELECT %s' % x)")) == [1]
    assert built(ast.parse("run('SELECT ' + x)")) == [1]
    assert built(ast.parse("Q: str = 'SELECT {x:String}'\nrun(Q, {'x': 1})")) == []


def test_the_linter_looks_for_sql_and_each_exception_has_a_reason() -> None:
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'select = ["ALL"]' in settings
    ignored = settings.partition("[tool.ruff.lint]")[2].partition("[tool.ruff.lint.per-file-ignores]")[0]
    assert "S608" not in ignored
    for path in SOURCES:
        for line in path.read_text(encoding="utf-8").splitlines():
            if re.search(r"noqa: S\d", line):
                assert re.search(r"noqa: S\d+ - \S", line), f"{name_of(path)}: {line.strip()}"
