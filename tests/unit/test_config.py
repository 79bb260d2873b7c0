import json
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
import yaml
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from streams.config import Settings, load_settings
from streams.config import parameters as parameters_module
from streams.config.doubts import doubts
from streams.config.mistakes import item_of, knobs
from streams.config.parameters import check_parameters
from streams.config.reference import as_markdown, as_yaml, variable
from streams.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class PsiParams:
    effect_floor: float = 0.1
    bins: int = 32

    def __post_init__(self) -> None:
        if self.effect_floor <= 0:
            msg = "effect_floor must be over 0"
            raise ValueError(msg)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters_module, "parameter_classes", lambda: {"psi": PsiParams})


def refusal(**arguments: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(**{"env": {}, **arguments})  # type: ignore[arg-type]
    return str(caught.value)


def test_everything_has_a_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(env={}) == Settings()


def test_defaults_are_those_of_the_design() -> None:
    settings = Settings()
    assert (settings.time.pane_s, settings.time.out_of_orderness_s, settings.time.idle_timeout_s) == (10, 5, 30)
    assert settings.time.max_future_s == 300
    assert (settings.baseline.min_rows, settings.baseline.min_panes, settings.baseline.max_rows) == (2000, 10, 2000)
    assert (settings.decision.k, settings.decision.m) == (3, 5)
    assert (settings.caps.sample_rows, settings.caps.scopes) == (256, 1000)
    assert settings.snapshot_interval_s == 60
    assert settings.alerts.resolve_after_s == 300


def test_constructing_settings_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALCYON_WEB__PORT", "1234")
    assert Settings().web.port == 6060
    assert load_settings().web.port == 1234


def test_later_layers_win_knob_by_knob(tmp_path: Path) -> None:
    file = tmp_path / "h.yaml"
    file.write_text("kafka: {bootstrap_servers: 'file:1', client_id: file}\nweb: {port: 1}\ncommit_interval_s: 2\n")
    settings = load_settings(
        file, env={"HALCYON_KAFKA__CLIENT_ID": "env", "halcyon_web__port": "2"}, overrides={"web": {"port": 3}}
    )
    assert settings.kafka.bootstrap_servers == "file:1"
    assert settings.kafka.client_id == "env"
    assert settings.web.port == 3
    assert settings.commit_interval_s == 2


def test_the_file_is_the_given_one_then_the_variables_then_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("halcyon.yaml", "named.yaml", "given.yaml"):
        (tmp_path / name).write_text(f"kafka: {{client_id: {name}}}\n")
    assert load_settings(env={}).kafka.client_id == "halcyon.yaml"
    assert load_settings(env={"HALCYON_CONFIG": "named.yaml"}).kafka.client_id == "named.yaml"
    assert load_settings("given.yaml", env={"HALCYON_CONFIG": "named.yaml"}).kafka.client_id == "given.yaml"


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "h.yaml"
    file.write_text("# nothing yet\n")
    assert load_settings(file, env={}) == Settings()


def test_overrides_are_not_changed() -> None:
    overrides = {"web": {"port": 3}}
    load_settings(env={"HALCYON_WEB__HOST": "::1"}, overrides=overrides)
    assert overrides == {"web": {"port": 3}}


def test_lists_come_from_files_and_from_commas() -> None:
    assert load_settings(env={"HALCYON_SEGMENTS__FIELDS": "country, tier,"}).segments.fields == ("country", "tier")
    assert load_settings(env={}, overrides={"segments": {"fields": ["country"]}}).segments.fields == ("country",)


@pytest.mark.parametrize(
    ("overrides", "path", "meant"),
    [
        ({"kafka": {"bootstrap_server": "x"}}, "kafka.bootstrap_server", "kafka.bootstrap_servers"),
        ({"kafak": {"client_id": "x"}}, "kafak", "kafka"),
        ({"pane_s": 10}, "pane_s", "time.pane_s"),
        ({"kafka": {"pane_s": 10}}, "kafka.pane_s", "time.pane_s"),
        ({"clickhouse": {"bach_rows": 1}}, "clickhouse.bach_rows", "clickhouse.batch_rows"),
    ],
)
def test_an_unknown_knob_is_refused_with_the_nearest(overrides: dict[str, object], path: str, meant: str) -> None:
    assert f"{path} (command line): unknown; did you mean {meant}?" in refusal(overrides=overrides)


def test_no_likeness_no_suggestion() -> None:
    assert "zzzz (command line): unknown" in refusal(overrides={"zzzz": 1})
    assert "did you mean" not in refusal(overrides={"zzzz": 1})


@pytest.mark.parametrize("name", ["HALCYON_KAFFKA__CLIENT_ID", "HALCYON_KAFKA__CLIENT", "HALCYON_PANE_S"])
def test_an_unknown_variable_is_refused_by_its_name(name: str) -> None:
    assert f"({name}): unknown; did you mean" in refusal(env={name: "1"})


def test_variables_of_others_are_ignored() -> None:
    assert load_settings(env={"HALCYONIC": "1", "PATH": "/bin"}) == load_settings(env={})


def test_two_unknown_variables_below_one_another_are_reported() -> None:
    assert "foo" in refusal(env={"HALCYON_FOO": "1", "HALCYON_FOO__BAR": "2"})


def test_all_mistakes_are_told_at_once_with_their_sources(tmp_path: Path) -> None:
    file = tmp_path / "h.yaml"
    file.write_text("time: {pane_s: 0}\n")
    text = refusal(path=file, env={"HALCYON_WEB__PORT": "http"}, overrides={"decision": {"k": 9}})
    assert "3 knobs cannot be used" in text
    assert f"time.pane_s ({file}): input should be greater than or equal to 1; it is 0" in text
    assert "web.port (HALCYON_WEB__PORT): input should be a valid integer" in text
    assert "decision (command line): k must be at most m: 9 of 5" in text


def test_a_pane_must_fill_minutes() -> None:
    assert "must divide 60" in refusal(overrides={"time": {"pane_s": 7}})


@pytest.mark.parametrize("bad", [".nan", ".inf", "-1", "'soon'"])
def test_numbers_must_be_finite_and_within_bounds(tmp_path: Path, bad: str) -> None:
    file = tmp_path / "h.yaml"
    file.write_text(f"commit_interval_s: {bad}\n")
    assert f"commit_interval_s ({file})" in refusal(path=file)


def test_a_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    text = refusal(path=tmp_path / "none.yaml")
    assert "No such file" in text
    assert "none.yaml" in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"kafka: [", "not valid YAML"),
        (b"- kafka\n", "sections with knobs"),
        (b"1: 2\n", "sections with knobs"),
        (b"\xff\xfe\xfa", "not UTF-8"),
        (b"a: \x00", "not valid YAML"),
    ],
)
def test_a_broken_file_says_where(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "h.yaml"
    file.write_bytes(content)
    text = refusal(path=file)
    assert said in text
    assert str(file) in text


def test_yaml_mistakes_have_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "h.yaml"
    file.write_text("kafka:\n  client_id: 'a\n")
    assert f"{file}:3:1" in refusal(path=file)


def test_a_whole_section_in_a_variable_is_json() -> None:
    assert load_settings(env={"HALCYON_KAFKA": '{"client_id": "x"}'}).kafka.client_id == "x"
    assert "(HALCYON_KAFKA)" in refusal(env={"HALCYON_WEB__PORT": "1", "HALCYON_KAFKA": "x"})


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.commit_interval_s = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.web.port = 3  # type: ignore[misc]


@pytest.mark.parametrize("source", ["env", "file", "wrong type"])
def test_secrets_are_never_shown(tmp_path: Path, source: str) -> None:
    secret = "correct horse"
    if source == "wrong type":
        text = refusal(overrides={"clickhouse": {"password": [secret]}})
        assert "clickhouse.password (command line)" in text
    else:
        file = tmp_path / "h.yaml"
        file.write_text(f"clickhouse: {{password: {secret}}}\n" if source == "file" else "")
        env = {"HALCYON_CLICKHOUSE__PASSWORD": secret} if source == "env" else {}
        settings = load_settings(file, env=env)
        assert settings.clickhouse.password.get_secret_value() == secret
        text = as_yaml(settings) + repr(settings) + str(settings)
        assert "**********" in text
    assert secret not in text


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    file = tmp_path / "h.yaml"
    settings = load_settings(env={}, overrides={"segments": {"fields": ["country"]}, "web": {"port": 0}})
    file.write_text(as_yaml(settings))
    assert load_settings(file, env={}) == settings


@pytest.mark.parametrize(
    ("slos", "said"),
    [
        ([{"name": "Up"}], "slos.0.name (command line): string should match pattern"),
        ([{"name": "up"}, {"name": "up"}], "two objectives are called up: give each a name of its own"),
        ([{"name": f"a{i}"} for i in range(101)], "101 objectives are more than 100"),
        ([{"name": "up"}, {"name": "fast", "kind": "latency"}], "slos.1 (command line): a latency objective needs"),
        ([{"name": "up", "threshold_ms": 250}], "threshold_ms belongs to objectives of kind latency"),
        ([{"name": "up", "objectiv_ratio": 0.9}], "slos.0.objectiv_ratio (command line): unknown; did you mean obj"),
        ([{"name": "up", "objective_ratio": 1}], "slos.0.objective_ratio (command line): input should be less than"),
        ([{"name": "up", "window_days": 1}], "slos.0.window_days"),
        ([{"kind": "availability"}], "slos.0.name (command line): field required"),
    ],
)
def test_an_objective_that_cannot_be_kept_is_refused(slos: list[dict[str, object]], said: str) -> None:
    assert said in refusal(overrides={"slos": slos})


def test_objectives_come_from_a_file_and_from_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "h.yaml"
    file.write_text("slos:\n  - {name: fast, kind: latency, threshold_ms: 250, objective_ratio: 0.995}\n")
    of_file = load_settings(file, env={}).slos
    assert of_file == load_settings(env={"HALCYON_SLOS": json.dumps([of_file[0].parameters])}).slos
    assert (of_file[0].model, of_file[0].window_days) == ("*", 30)
    assert "slos.0.windw_days (HALCYON_SLOS): unknown; did you mean window_days?" in refusal(
        env={"HALCYON_SLOS": '[{"name": "a", "windw_days": 7}]'}
    )


def test_an_objective_that_can_never_page_is_worth_a_word() -> None:
    settings = load_settings(env={}, overrides={"slos": [{"name": n, "objective_ratio": r} for n, r in OBJECTIVES]})
    assert [text.split(":")[0] for text in doubts(settings)] == ["slos loose", "slos middling"]
    assert "never pages" in doubts(settings)[0]
    assert "does not page within the hour" in doubts(settings)[1]


OBJECTIVES = (("loose", 0.8), ("middling", 0.9), ("strict", 0.995))


@pytest.mark.usefixtures("registry")
class TestDetectorParameters:
    def test_they_are_checked_against_the_registry(self) -> None:
        settings = load_settings(env={"HALCYON_DETECT__PSI__EFFECT_FLOOR": "0.2"}, overrides={"detect": {"psi": {}}})
        assert check_parameters(settings.detect, {"psi": PsiParams}) == {"psi": PsiParams(effect_floor=0.2)}

    def test_unknown_kind(self) -> None:
        assert "no detector 'spi'; did you mean 'psi'? (detect.spi)" in refusal(overrides={"detect": {"spi": {}}})

    def test_unknown_parameter(self) -> None:
        text = refusal(overrides={"detect": {"psi": {"efect_floor": 1}}})
        assert "no parameter 'efect_floor'; did you mean 'effect_floor'? (detect.psi.efect_floor)" in text

    @pytest.mark.parametrize(("value", "said"), [("high", "valid number"), (-1, "must be over 0")])
    def test_bad_value(self, value: object, said: str) -> None:
        text = refusal(overrides={"detect": {"psi": {"effect_floor": value}}})
        assert said in text
        assert "detect.psi" in text


def test_the_classes_are_those_the_registry_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = ModuleType("made_up_registry")
    registry.__spec__ = ModuleSpec("made_up_registry", None)
    registry.__dict__["PARAMS"] = {"psi": PsiParams}
    monkeypatch.setitem(sys.modules, "made_up_registry", registry)
    monkeypatch.setattr(parameters_module, "REGISTRY_MODULE", "made_up_registry")
    assert "no parameter" in refusal(overrides={"detect": {"psi": {"x": 1}}})
    load_settings(env={}, overrides={"detect": {"psi": {"bins": 16}}})


def test_parameters_may_be_pydantic_models_and_structs() -> None:
    class Model(BaseModel):
        floor: float = 1.0

    class Struct(msgspec.Struct):
        floor: float = 1.0

    assert check_parameters({"a": {"floor": "2"}}, {"a": Model}) == {"a": Model(floor=2.0)}
    assert check_parameters({"a": {"floor": "2"}}, {"a": Struct}) == {"a": Struct(floor=2.0)}
    for cls in (Model, Struct):
        with pytest.raises(ConfigError, match="did you mean 'floor'"):
            check_parameters({"a": {"flor": 2}}, {"a": cls})
        with pytest.raises(ConfigError, match=r"refuses its parameters.*detect\.a"):
            check_parameters({"a": {"floor": []}}, {"a": cls})


def test_the_registry_is_not_imported_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> dict[str, type]:
        pytest.fail("asked for the registry though no detector is configured")

    monkeypatch.setattr(parameters_module, "parameter_classes", never)
    load_settings(env={})


def test_every_knob_is_described_and_named_once() -> None:
    names = [name for name, _ in knobs()]
    assert len(names) == len(set(names))
    assert [name for name, field in knobs() if not field.description] == []


@pytest.mark.parametrize(("name", "field"), [pytest.param(name, field, id=name) for name, field in knobs()])
def test_every_knob_can_be_set_by_its_variable(name: str, field: FieldInfo, tmp_path: Path) -> None:
    default = field.get_default(call_default_factory=True, validated_data={})
    text, wanted = another(name, field, default, tmp_path)
    settings = load_settings(env={variable(name): text})
    value = attrgetter(name)(settings)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if item_of(field):
        value = tuple(item.model_dump(include=set(wanted[0])) for item in value)
    assert value == wanted != default


def another(name: str, field: FieldInfo, default: object, folder: Path) -> tuple[str, Any]:
    """A value of a knob that is not its default: as text, and as it is read."""
    value: Any = "http://elsewhere:1234" if name.endswith("url") else "other"
    if isinstance(default, bool):
        return str(not default).lower(), not default
    if isinstance(default, int | float):
        least = max(getattr(bound, "ge", 0) for bound in (*field.metadata, None))
        value = type(default)(default / 2)
        # Of k of m windows, m is never the smaller one.
        value = value if value >= least and not name.endswith(".m") else default * 2
    elif get_origin(field.annotation) is Literal:
        value = next(choice for choice in get_args(field.annotation) if choice != default)
    elif isinstance(default, dict):
        return '{"volume": {"seasonal": false}}', {"volume": {"seasonal": False}}
    elif isinstance(default, tuple):
        one = {"name": "up", "objective_ratio": 0.95}
        if item_of(field):
            return json.dumps([one]), (one,)
        return ("2,3", (2, 3)) if default and isinstance(default[0], int) else ("one,two", ("one", "two"))
    elif name.endswith("_file"):
        value = str(folder / "given")
        Path(value).write_text("secret")
    return str(value), value


def test_the_reference_is_up_to_date() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == as_markdown(), "run 'make docs'"


def test_the_reference_names_every_knob_and_bounds() -> None:
    page = as_markdown()
    assert [name for name, _ in knobs() if f"`{name}`" not in page or f"`{variable(name)}`" not in page] == []
    assert "| `web.port`<br>`HALCYON_WEB__PORT` | `6060` | ≥ 0, ≤ 65535 |" in page
    assert "`debug`, `info`, `warning`, `error`" in page


def test_the_yaml_has_sections_in_the_trees_order() -> None:
    shown = yaml.safe_load(as_yaml(Settings()))
    assert list(shown) == list(Settings.model_fields)
    json.dumps(shown)
