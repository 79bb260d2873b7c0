import re
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from loadgen.distributions import Distribution
from loadgen.effects import Effect
from loadgen.expected import EXPECTED, InjectionKind
from loadgen.scenarios import ScenarioError, demo, load, names
from loadgen.truth import Expectation, Truth, key, read, write
from schemas.findings import Kind, Severity
from tests.unit.loadgen.scenes import FEATURE_SET, FLEET, MODEL, OTHER, START_MS, injection, scene

SUITE = [name for name in names() if name.startswith("suite-")]
THROTTLE = {"effect": "throttle", "warmer_c": 9, "clock_ratio": 0.5}
SCALE = {"effect": "scale", "feature": "amount", "factor": 2}


def truths(*chosen: Expectation) -> list[Truth]:
    return [truth for name in SUITE for truth in load(name).truths(START_MS) if truth.expectation in chosen]


@pytest.mark.parametrize("name", names())
def test_scenarios_that_ship_can_be_played(name: str) -> None:
    scenario = load(name, seed=3)
    assert (scenario.name, scenario.seed) == (name, 3)
    mix = scenario.mix(START_MS)
    assert any(next(mix.spans(scenario.duration_s - 10, scenario.duration_s)))


@pytest.mark.parametrize("name", names())
def test_injections_of_one_entity_leave_room_for_each_others_alerts(name: str) -> None:
    # Nobody could tell which of two a late alert belongs to.
    scenario = load(name)
    for entity in {entry.entity for entry in scenario.injections}:
        spans = sorted((i.onset_s, i.end_s) for i in scenario.injections if i.entity == entity)
        room_s = 120 if name == "demo" else scenario.grace_s
        assert all(one[1] + room_s <= two[0] for one, two in pairwise(spans))


@pytest.mark.parametrize("name", SUITE)
def test_baselines_are_learned_before_anything_is_injected(name: str) -> None:
    assert min(entry.onset_s for entry in load(name).injections) >= 2400


def test_the_suite_holds_every_kind_of_fault_and_near_miss() -> None:
    assert len(truths(Expectation.MUST)) >= 30
    assert len(truths(Expectation.MUST_NOT)) >= 10
    assert {truth.injection for truth in truths(*Expectation)} == {kind.value for kind in InjectionKind}


def test_what_must_alert_says_as_what_and_what_must_not_says_nothing() -> None:
    assert all(truth.kinds for truth in truths(Expectation.MUST))
    assert all(not truth.kinds and not truth.collateral for truth in truths(Expectation.MUST_NOT))
    assert set(EXPECTED) == set(InjectionKind)


def test_every_injection_says_why() -> None:
    assert [i.name for name in SUITE for i in load(name).injections if not i.why] == []


def test_the_demo_has_four_faults_and_its_own_seed() -> None:
    assert [truth.injection for truth in demo().truths(0)] == [
        "feature_drift_sudden", "latency_tail", "null_burst", "volume_drop",
    ]  # fmt: skip
    assert demo().seed == 7


def test_a_truth_stands_where_its_injection_is(tmp_path: Path) -> None:
    more = {"where": {"segment": {"country": "FR"}}, "kind": "feature_drift_segment"}
    scenario = scene(
        injection("cards", SCALE, **more),
        injection("gpu-0", {"effect": "xid", "code": 79, "every_s": 60}, name="first", kind="gpu_xid", onset_s=60),
        seed=4,
    )
    first, second = scenario.truths(START_MS)
    assert (first.name, first.severity, first.kinds) == ("first", Severity.PAGE, (Kind.GPU_XID,))
    assert second == Truth(
        name="it",
        entity="cards",
        onset_ms=START_MS + 600_000,
        end_ms=START_MS + 660_000,
        kinds=(Kind.DRIFT,),
        collateral=EXPECTED[InjectionKind.FEATURE_DRIFT_SEGMENT].collateral,
        severity=Severity.TICKET,
        magnitude=2,
        target="amount",
        injection="feature_drift_segment",
        injected="features.amount × 2 in country=FR",
        scenario="scene",
        seed=4,
    )
    write(tmp_path / "truth.jsonl", (first, second))
    assert read(tmp_path / "truth.jsonl") == [first, second]
    assert key(second) == "scene/it"


def test_an_entry_may_expect_something_else() -> None:
    said = {"expect": "may", "severity": "page", "alerts": ["errors"], "collateral": []}
    (truth,) = scene(injection("cards", SCALE, **said)).truths(0)
    assert (truth.expectation, truth.severity, truth.kinds, truth.collateral) == (
        Expectation.MAY, Severity.PAGE, (Kind.ERRORS,), (),
    )  # fmt: skip


def test_a_file_that_is_no_truth_is_told_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "truth.jsonl").write_bytes(b'\n{"name": "x"}\n')
    with pytest.raises(ValueError, match=r"truth.jsonl, line 2: .*entity"):
        read(tmp_path / "truth.jsonl")


def model(**changes: Any) -> dict[str, Any]:
    return {"models": [{**MODEL, **changes}, OTHER]}


def amount(**spec: Any) -> dict[str, Any]:
    return model(features={"amount": spec})


NORMAL = {"kind": "normal", "mean": 1, "sigma": 1}
SERVING = {"name": "store", "model": "cards", "serves": ["amount"]}
AGES = {"share_ratio": 0.1, "features": {"age": NORMAL}}
TANGLED = [{"of": [one, two], "rho": rho} for one, two, rho in (
    ("amount", "velocity", 0.9), ("amount", "shop", 0.9), ("velocity", "shop", -0.9)
)]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"durations_s": 3}, "scene.yaml: unknown key 'durations_s', did you mean 'duration_s'?"),
        (model(trafic={}), r"models\[0\]: unknown key 'trafic', did you mean 'traffic'?"),
        (model(traffic={"rate": 3}), r"models\[0\].traffic: unknown key 'rate', did you mean 'rate_per_s'?"),
        (model(traffic={}), r"models\[0\].traffic: the key 'rate_per_s' is missing"),
        (model(traffic={"rate_per_s": "3e1"}), r"models\[0\].traffic.rate_per_s: expected `float`, got `str`"),
        (model(traffic={"rate_per_s": -3}), r"models\[0\].traffic.rate_per_s: expected `float` > 0.0"),
        (model(traffic=7), r"models\[0\].traffic: it must be a mapping"),
        (amount(kind="lognormall"), "features.amount.kind: 'lognormall' is not known, did you mean 'lognormal'?"),
        (amount(median=3), "features.amount: the key 'kind' is missing, one of normal"),
        (model(features={"amount": 3}), "features.amount: it must be a mapping with the key 'kind'"),
        (amount(**NORMAL, mode=1), "features.amount: unknown key 'mode'"),
        (model(correlations=[{"of": ["amount", "speed"], "rho": 0.3}]), "cards: correlations: no feature 'speed'"),
        (model(correlations=TANGLED), "contradict each other"),
        (amount(**NORMAL, by={"shop": {}}), "amount.by.shop: no segment or text feature"),
        (model(populations={"x": AGES}), "features.age: no such feature"),
        (model(score={"terms": [{"feature": "age"}]}), "cards: score.terms: no feature 'age'; there are amount"),
        (model(score={"terms": [{"segment": "city"}]}), "no segment 'city'; there are country"),
        (model(latency=None), "either latency or generation"),
        (model(score=None), "labels follow from a logistic score"),
        (model(score=None, labels=None), "decisions follow from a score"),
        ({"fleets": [{**FLEET, "model": "chatt"}]}, "there is no model 'chatt'; there are cards, chat"),
        (
            {"feature_sets": [{"name": "s", "model": "cards"}]},
            r"feature_sets\[0\]: give `traffic` and `values`, or `serves`",
        ),
        ({"feature_sets": [{**FEATURE_SET, "serves": ["amount"]}]}, "leave `traffic` and `values` out"),
        ({"feature_sets": [{**SERVING, "model": "card"}]}, "there is no model 'card' whose features it could serve"),
        (
            {"feature_sets": [{**SERVING, "serves": ["age"]}]},
            "cards has no feature 'age'; there are amount, velocity, shop",
        ),
        ({"clock": {"weekday": "mon"}}, "clock.weekday: 'mon' is not known, did you mean 'monday'?"),
    ],
)
def test_mistakes_are_told_with_their_place_and_what_was_meant(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        scene(**changes)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (injection("cards", SCALE, kind="drift"), r"timeline\[0\].kind: 'drift' is not known, did you mean"),
        (
            injection("cards", {"effect": "scaled"}),
            r"effects\[0\].effect: 'scaled' is not known, did you mean 'scale'?",
        ),
        (injection("cards", {**SCALE, "factor": 0}), r"effects\[0\].factor: expected `float` > 0.0"),
        (injection("cards", {"effect": "nulls", "feature": "amount", "ratio": 1.5}), r"ratio: expected `float` <= 1.0"),
        (injection("card", SCALE), r"'it'.entity: there is no 'card'; there are cards, chat, history, gpu-0, gpu-1"),
        (injection("gpu-0", SCALE), r"'it'.effects: 'scale' does nothing to 'gpu-0'"),
        (
            injection("cards", {**SCALE, "feature": "speed"}),
            "'it': there is no numeric feature 'speed'; there are amount",
        ),
        (injection("cards", {"effect": "nulls", "feature": "shop", "ratio": 0.5}), "no numeric feature 'shop'"),
        (injection("gpu-0", {**THROTTLE, "reason": "hot"}), "no throttle reason 'hot'; there are"),
        (injection("cards", SCALE, onset_s=700), "it must end after its onset"),
        (injection("cards", SCALE, end_s=4000), "it outlasts the scenario"),
        (injection("cards", SCALE, where={"version": "c"}), "where.version: there is no 'c'; there are a, b"),
        (injection("cards", SCALE, where={"segment": {"city": "Rome"}}), "where.segment: there is no segment 'city'"),
        (
            injection("cards", {"effect": "traffic", "factor": 2}, where={"host": "serve-1"}),
            "traffic strikes a version",
        ),
    ],
)
def test_impossible_injections_are_refused(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        scene(entry)


def test_names_are_given_once() -> None:
    with pytest.raises(ScenarioError, match="one of this name already"):
        scene(injection("cards", SCALE), injection("chat"))


def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"about": "x", "duration_s": 60, "models": [OTHER]}))
    assert load(path).name == load(str(path)).name == "mine"
    path.write_text("about: [")
    with pytest.raises(ScenarioError, match=r"mine.yaml cannot be read"):
        load(path)


@pytest.mark.parametrize(("name", "words"), [("suite-drif", "did you mean 'suite-drift'?"), ("xyz", "there are demo")])
def test_an_unknown_scenario_is_told_with_the_nearest(name: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        load(name)


def test_a_seed_is_not_negative() -> None:
    with pytest.raises(ScenarioError, match="from 0 on, not -1"):
        load("demo", seed=-1)


def test_the_page_names_every_kind_effect_and_distribution_and_its_example_can_be_played(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "loadgen.md").read_text()
    tags = [member.__struct_config__.tag for union in (Effect, Distribution) for member in get_args(union)]
    assert [name for name in (*tags, *InjectionKind) if f"`{name}`" not in page] == []
    (example,) = re.findall(r"```yaml\n(about:.*?)```", page, re.DOTALL)
    (tmp_path / "example.yaml").write_text(example)
    assert len(load(tmp_path / "example.yaml").truths(0)) == 1
