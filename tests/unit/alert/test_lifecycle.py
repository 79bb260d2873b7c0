"""What becomes of findings: grouping, severity, updates, inhibition, resolve, flapping, silences, bounds."""

import math
import random
from collections.abc import Iterable

import pytest

from schemas.alerts import Status, decode, encode, fingerprint
from schemas.findings import Contribution, FindingMessage, Kind, Severity
from schemas.scopes import Family, Scope
from streams.alert.episode import AlertEvent
from streams.alert.lifecycle import AlertBook
from streams.alert.policy import AlertPolicy
from streams.alert.state import Matcher, Silence
from tests.unit.alert.helpers import PANE_MS, FamilyProgress, at, finding, through

POLICY = AlertPolicy()


def play(messages: Iterable[FindingMessage], book: AlertBook | None = None) -> list[AlertEvent]:
    book = book or AlertBook(POLICY)
    return [event for message in messages for event in book.fold(message)]


def published(events: Iterable[AlertEvent]) -> list[tuple[str, str]]:
    return [(event.alert.status.value, event.alert.labels["alertname"]) for event in events if event.published]


def lasting(kind: Kind, quantity: str, windows: range, **fields: object) -> list[FindingMessage]:
    """The condition holds in each of the windows; each is followed by its progress."""
    return [
        message
        for window in windows
        for message in (finding(kind, quantity, window, since_ms=at(windows.start), **fields), through(window + 1))
    ]


def test_all_drift_of_a_model_version_is_one_alert_with_features_by_contribution() -> None:
    names = ["features.amount", "features.age", "features.city"]
    findings = [finding(Kind.DRIFT, name, 0, score=score) for name, score in zip(names, (4.0, 1.0, 2.0), strict=True)]
    segment = finding(Kind.DRIFT, "features.age", 0, score=9.0, segment="country=DE")
    (event,) = play([*findings, segment, through(1)])
    evidence = event.alert.evidence
    assert event.published
    assert event.alert.status is Status.FIRING
    assert evidence.leading.quantity == "features.amount"
    assert evidence.observations == 4
    assert [share.name for share in evidence.features] == ["features.amount", "features.city", "features.age"]
    assert sum(share.share_ratio for share in evidence.features) == pytest.approx(1.0, abs=1e-3)
    assert [share.name for share in evidence.segments] == ["country=DE"]


def test_contributions_of_a_detector_are_taken_as_they_are() -> None:
    parts = (Contribution("features.a", 0.7), Contribution("features.b", 0.3))
    (event,) = play([finding(Kind.DRIFT, "score", 0, contributions=parts), through(1)])
    assert [(share.name, share.share_ratio) for share in event.alert.evidence.features] == [
        ("features.a", 0.7),
        ("features.b", 0.3),
    ]


def test_nothing_is_said_until_the_window_is_complete_and_then_once() -> None:
    book = AlertBook(POLICY)
    assert book.fold(finding(Kind.DRIFT, "score", 0)) == []
    assert len(book.fold(through(1))) == 1
    assert play(lasting(Kind.DRIFT, "score", range(1, 20)), book) == []


def test_a_finding_of_a_later_window_completes_the_one_before() -> None:
    book = AlertBook(POLICY)
    book.fold(finding(Kind.DRIFT, "score", 0))
    assert len(book.fold(finding(Kind.DRIFT, "score", 1))) == 1


@pytest.mark.parametrize(
    ("proposed", "confidence", "said"),
    [
        (Severity.PAGE, 0.95, "critical"),
        (Severity.PAGE, 0.49, "warning"),
        (Severity.PAGE, math.nan, "warning"),
        (Severity.TICKET, 1.0, "warning"),
        (Severity.INFO, 1.0, "info"),
    ],
)
def test_a_page_needs_confidence(proposed: Severity, confidence: float, said: str) -> None:
    (event,) = play([finding(Kind.ERRORS, "errors", 0, severity=proposed, confidence_ratio=confidence), through(1)])
    assert event.alert.labels["severity"] == said


def test_severity_does_not_identify_and_never_falls_while_firing() -> None:
    page = finding(Kind.ERRORS, "errors", 1, severity=Severity.PAGE)
    events = play([*lasting(Kind.ERRORS, "errors", range(1)), page, *lasting(Kind.ERRORS, "errors", range(2, 40))])
    assert [event.alert.labels["severity"] for event in events] == ["warning", "critical"]
    assert {event.alert.fingerprint for event in events} == {fingerprint(events[0].alert.labels)}


def test_an_update_waits_its_turn_unless_it_escalates() -> None:
    per_update = POLICY.update_after_ms // PANE_MS
    messages: list[FindingMessage] = []
    for window in range(per_update + 2):
        messages += [finding(Kind.DRIFT, "features.a", window, since_ms=at(0))]
        if window >= 3:
            messages += [finding(Kind.DRIFT, "features.b", window, score=5.0)]
        messages += [through(window + 1)]
    first, update = play(messages)
    assert update.time_ms - first.time_ms == POLICY.update_after_ms
    assert (first.alert.evidence.leading.quantity, update.alert.evidence.leading.quantity) == (
        "features.a",
        "features.b",
    )
    assert (first.alert.id, first.alert.sequence, update.alert.sequence) == (update.alert.id, 1, 2)
    assert first.ce_id != update.ce_id


def test_a_further_fault_is_news_about_the_same_alert() -> None:
    gpu = Scope(Family.GPU, "node-1", "GPU-7")
    faults = [1] * 10 + [2] * 40 + [3] * 60
    messages: list[FindingMessage] = []
    for window, count in enumerate(faults):
        said = {"scope": gpu, "detector": "gpu_xid", "value": float(count), "since_ms": at(0)}
        messages += [finding(Kind.GPU_XID, "xid", window, **said), through(window + 1)]
    events = play(messages)
    assert [event.alert.evidence.leading.value for event in events] == [1, 2, 3]
    assert [event.alert.sequence for event in events] == [1, 2, 3]
    assert len({event.alert.id for event in events}) == 1
    assert events[1].time_ms - events[0].time_ms == POLICY.update_after_ms


def test_leaders_that_take_turns_are_news_once() -> None:
    messages: list[FindingMessage] = []
    for window in range(300):
        scores = (1.0, 2.0) if window // 40 % 2 else (2.0, 1.0)
        messages += [
            finding(Kind.DRIFT, f"features.{name}", window, score=score)
            for name, score in zip("ab", scores, strict=True)
        ]
        messages += [through(window + 1)]
    assert len(play(messages)) == 2


def test_it_is_said_again_after_the_repeat_interval() -> None:
    windows = POLICY.repeat_after_ms // PANE_MS
    assert len(play(lasting(Kind.ERRORS, "errors", range(2 * windows + 2)))) == 3


def test_it_resolves_when_the_last_finding_has_cleared() -> None:
    events = play(
        [
            finding(Kind.DRIFT, "features.a", 0),
            finding(Kind.DRIFT, "features.b", 0),
            through(1),
            finding(Kind.DRIFT, "features.a", 1, firing=False),
            through(2),
            finding(Kind.DRIFT, "features.b", 2, firing=False),
            through(3),
        ]
    )
    assert published(events) == [("firing", "HalcyonModelDrift"), ("resolved", "HalcyonModelDrift")]
    assert events[1].ends_ms == at(3)
    assert events[1].alert.id == events[0].alert.id
    assert events[1].alert.starts_at == events[0].alert.starts_at
    assert events[1].alert.annotations["summary"].startswith("Resolved: fraud v3")


def test_it_resolves_by_event_time_without_a_repeat() -> None:
    book = AlertBook(POLICY)
    assert len(play([finding(Kind.ERRORS, "errors", 0), through(1)], book)) == 1
    due = 2 + POLICY.resolve_after_ms // PANE_MS
    assert play([through(due - 1)], book) == []
    (resolved,) = play([through(due)], book)
    assert (resolved.alert.status, resolved.ends_ms) == (Status.RESOLVED, at(due))


def test_a_partition_that_stands_still_resolves_nothing() -> None:
    book = AlertBook(POLICY)
    play([through(0, partition=1), finding(Kind.ERRORS, "errors", 0), through(1)], book)
    assert play([through(1000)], book) == []
    assert published(play([through(1000, partition=1)], book)) == [("resolved", "HalcyonErrors")]


def test_a_finding_of_an_hour_is_not_stale_before_the_next_can_come() -> None:
    book = AlertBook(POLICY)
    hour = 360
    play([finding(Kind.DRIFT, "score", 0, window_ms=hour * PANE_MS), through(hour)], book)
    assert play([through(2 * hour)], book) == []


def test_firing_again_soon_reopens_the_episode_and_later_begins_another() -> None:
    flap = POLICY.flap_window_ms // PANE_MS
    cleared: list[FindingMessage] = [finding(Kind.ERRORS, "errors", 1, firing=False), through(2)]
    soon = [*lasting(Kind.ERRORS, "errors", range(1)), *cleared, *lasting(Kind.ERRORS, "errors", range(flap, flap + 1))]
    events = play(soon)
    assert [event.alert.status.value for event in events] == ["firing", "resolved", "firing"]
    assert [event.alert.sequence for event in events] == [1, 2, 3]
    assert len({event.alert.id for event in events}) == 1
    late = [
        *lasting(Kind.ERRORS, "errors", range(1)),
        *cleared,
        *lasting(Kind.ERRORS, "errors", range(flap + 5, flap + 6)),
    ]
    first, _, again = play(late)
    assert again.alert.id != first.alert.id
    assert (again.alert.sequence, again.starts_ms) == (1, at(flap + 5))


def test_a_run_older_than_the_last_episode_does_not_take_its_id() -> None:
    flap = POLICY.flap_window_ms // PANE_MS
    events = play(
        [
            *lasting(Kind.ERRORS, "errors", range(1)),
            finding(Kind.ERRORS, "errors", 1, firing=False),
            through(2),
            finding(Kind.ERRORS, "errors", flap + 9, since_ms=at(0)),
            through(flap + 10),
        ]
    )
    assert len({event.ce_id for event in events}) == 3
    assert events[2].alert.id != events[0].alert.id


def test_nulls_of_a_feature_inhibit_its_drift_and_name_it() -> None:
    def window(index: int) -> list[FindingMessage]:
        return [
            finding(Kind.DRIFT, "features.a", index, summary="a drifts"),
            finding(Kind.NULLS, "features.a", index, detector="nulls", unit="ratio"),
            through(index + 1),
        ]

    events = play([message for index in range(5) for message in window(index)])
    assert published(events) == [("firing", "HalcyonNulls")]
    cause, effect = events
    assert cause.alert.evidence.consequences == ("a drifts",)
    assert (effect.alert.status, effect.alert.inhibited_by) == (Status.SUPPRESSED, (cause.alert.fingerprint,))


def test_nulls_of_one_feature_leave_drift_of_another_alone() -> None:
    events = play(
        [
            finding(Kind.DRIFT, "features.a", 0, score=9.0),
            finding(Kind.DRIFT, "features.b", 0),
            finding(Kind.NULLS, "features.a", 0, detector="nulls"),
            through(1),
        ]
    )
    assert published(events) == [("firing", "HalcyonNulls"), ("firing", "HalcyonModelDrift")]
    assert events[1].alert.evidence.leading.quantity == "features.b"
    assert events[1].alert.evidence.observations == 1


@pytest.mark.parametrize(
    ("cause", "effect", "explains"),
    [
        (Kind.SCHEMA, Kind.NULLS, True),
        (Kind.SCHEMA, Kind.DRIFT, True),
        (Kind.FRESHNESS, Kind.DRIFT, True),
        (Kind.FRESHNESS, Kind.NULLS, False),
        (Kind.DUPLICATES, Kind.DRIFT, False),
    ],
)
def test_what_a_field_lost_or_froze_explains_what_follows_of_that_field(
    cause: Kind, effect: Kind, explains: bool
) -> None:
    other = finding(effect, "features.b", 0)
    events = play([finding(effect, "features.a", 0), other, finding(cause, "features.a", 0), through(1)])
    said = [event.alert.evidence.leading.quantity for event in events if event.published]
    assert sorted(said) == sorted(["features.a", "features.b"] if explains else ["features.a", "features.a"])


@pytest.mark.parametrize(
    ("cause", "family", "explains"),
    [
        (Kind.SCHEMA, Family.PREDICTION, True),
        (Kind.NULLS, Family.PREDICTION, True),
        (Kind.FRESHNESS, Family.PREDICTION, True),
        (Kind.DUPLICATES, Family.PREDICTION, False),
        (Kind.SCHEMA, Family.LABEL, False),
    ],
)
def test_an_input_that_is_gone_explains_what_the_score_follows_but_not_what_labels_say(
    cause: Kind, family: Family, explains: bool
) -> None:
    effect = finding(Kind.CONCEPT_DRIFT, "features.b", 0, scope=Scope(family, "fraud", "1"))
    events = play([effect, finding(cause, "features.a", 0, scope=Scope(Family.PREDICTION, "fraud", "1")), through(1)])
    assert (len(published(events)) == 1) is explains


@pytest.mark.parametrize(
    ("family", "kind", "quantity", "explains"),
    [
        (Family.PREDICTION, Kind.DRIFT, "features.a", True),
        (Family.PREDICTION, Kind.CONCEPT_DRIFT, "features.b", True),
        (Family.PREDICTION, Kind.DRIFT, "features.b", False),
        (Family.PREDICTION, Kind.SCORE_DRIFT, "score", False),
        (Family.FEATURE, Kind.DRIFT, "features.a", False),
    ],
)
def test_what_a_model_is_not_given_as_it_is_served_explains_its_drift(
    family: Family, kind: Kind, quantity: str, explains: bool
) -> None:
    read = Scope(Family.READ, "fraud", "", "feature_set=cards")
    drift = finding(kind, quantity, 0, scope=Scope(family, "fraud", "3" if family is Family.PREDICTION else ""))
    events = play([drift, finding(Kind.SKEW, "features.a", 0, scope=read, detector="skew"), through(1)])
    assert (len(published(events)) == 1) is explains


def test_nulls_of_a_segment_do_not_explain_drift_of_the_whole() -> None:
    events = play(
        [
            finding(Kind.DRIFT, "features.a", 0),
            finding(Kind.NULLS, "features.a", 0, segment="country=DE"),
            through(1),
        ]
    )
    assert len(published(events)) == 2


@pytest.mark.parametrize(
    ("cause", "inhibits"),
    [
        (finding(Kind.VOLUME, "rows", 0, value=0.0), True),
        (finding(Kind.VOLUME, "rows", 0, value=50.0), False),
        (finding(Kind.BAD_INPUT, "bad", 0, value=0.9), True),
        (finding(Kind.BAD_INPUT, "bad", 0, scope=Scope(Family.PREDICTION, "fraud")), True),
        (finding(Kind.BAD_INPUT, "bad", 0, scope=Scope(Family.PREDICTION, "other")), False),
        (finding(Kind.VOLUME, "rows", 0, value=0.0, scope=Scope(Family.PREDICTION, "fraud", "2")), False),
    ],
)
def test_a_model_without_good_input_does_not_drift(cause: FindingMessage, inhibits: bool) -> None:
    events = play([finding(Kind.SCORE_DRIFT, "score", 0), cause, through(1)])
    assert (("firing", "HalcyonModelDrift") not in published(events)) is inhibits


def test_a_consequence_that_outlives_its_cause_for_long_is_published() -> None:
    drift = lasting(Kind.DRIFT, "features.a", range(80))
    cause = finding(Kind.NULLS, "features.a", 0)
    gone = finding(Kind.NULLS, "features.a", 3, firing=False)
    events = play([cause, *drift[:6], gone, *drift[6:]])
    assert published(events) == [
        ("firing", "HalcyonNulls"),
        ("resolved", "HalcyonNulls"),
        ("firing", "HalcyonModelDrift"),
    ]
    assert events[-1].time_ms - at(4) >= POLICY.inhibit_after_ms


def test_an_alert_that_was_published_before_its_cause_is_resolved_for_those_who_were_told() -> None:
    events = play(
        [
            *lasting(Kind.DRIFT, "features.a", range(2)),
            finding(Kind.NULLS, "features.a", 2),
            finding(Kind.DRIFT, "features.a", 2),
            through(3),
            finding(Kind.DRIFT, "features.a", 3, firing=False),
            through(4),
        ]
    )
    drift = [event for event in events if event.alert.labels["alertname"] == "HalcyonModelDrift"]
    assert [(event.alert.status.value, event.published) for event in drift] == [
        ("firing", True),
        ("suppressed", False),
        ("resolved", True),
    ]


def test_a_silenced_alert_is_tracked_not_published_until_the_silence_ends() -> None:
    book = AlertBook(POLICY)
    assert book.silence(Silence("s1", (Matcher("model", "fr.*", is_regex=True),), at(0), at(5)))
    events = play(lasting(Kind.ERRORS, "errors", range(8)), book)
    assert [(event.alert.status.value, event.published) for event in events] == [
        ("suppressed", False),
        ("firing", True),
    ]
    assert events[0].alert.silenced_by == ("s1",)
    assert events[1].time_ms == at(5)


def test_a_silence_of_something_else_silences_nothing() -> None:
    book = AlertBook(POLICY)
    book.silence(Silence("s1", (Matcher("model", "fr"),), at(0), at(50)))
    book.silence(Silence("s2", (), at(0), at(50)))
    assert len(published(play(lasting(Kind.ERRORS, "errors", range(1)), book))) == 1


def test_a_silence_that_cannot_be_read_is_refused() -> None:
    book = AlertBook(POLICY)
    assert not book.silence(Silence("s1", (Matcher("model", "(", is_regex=True),), at(0), at(5)))
    assert not book.silence(Silence("s2", (Matcher("model", "x"),), at(5), at(5)))


def test_what_the_analyse_stage_says_again_changes_nothing() -> None:
    cleared = finding(Kind.ERRORS, "errors", 3, firing=False)
    history = [*lasting(Kind.ERRORS, "errors", range(3)), cleared, through(4)]
    book = AlertBook(POLICY)
    assert len(play(history, book)) == 2
    before = book.to_bytes()
    assert play(history, book) == []
    assert book.to_bytes() == before


def test_what_is_said_again_long_after_changes_nothing_either() -> None:
    history = [*lasting(Kind.ERRORS, "errors", range(3)), finding(Kind.ERRORS, "errors", 3, firing=False)]
    book = AlertBook(POLICY)
    assert len(play([*history, FamilyProgress(0, at(4))], book)) == 2
    assert play([FamilyProgress(0, at(4000))], book) == []
    assert len(book.to_bytes()) < 3_000
    assert play(history, book) == []


def test_families_have_event_times_of_their_own() -> None:
    book = AlertBook(POLICY)
    assert len(play([finding(Kind.ERRORS, "errors", 0), FamilyProgress(0, at(1))], book)) == 1
    years = FamilyProgress(0, at(10_000_000), Family.GPU)
    assert play([years, FamilyProgress(1, at(10_000_001), Family.GPU)], book) == []
    assert play([finding(Kind.DRIFT, "score", 5), FamilyProgress(0, at(6))], book)
    assert published(play([FamilyProgress(0, at(500))], book)) == [
        ("resolved", "HalcyonErrors"),
        ("resolved", "HalcyonModelDrift"),
    ]


def test_memory_is_bounded() -> None:
    policy = AlertPolicy(max_alerts=3, max_members=4, max_series=50, max_silences=1, max_evidence=2, max_exemplars=2)
    book = AlertBook(policy)
    events: list[AlertEvent] = []
    for window in range(30):
        for model in range(6):
            scope = Scope(Family.PREDICTION, f"m{model}")
            for feature in range(9):
                fields = {"scope": scope, "score": float(feature), "exemplars": (f"e{feature}", "x", "y")}
                events += book.fold(finding(Kind.DRIFT, f"features.{feature}", window, **fields))
        events += book.fold(through(window + 1))
    assert len({event.alert.fingerprint for event in events}) == 3
    assert {event.alert.evidence.leading.quantity for event in events} == {"features.8"}
    for event in events:
        assert len(event.alert.evidence.others) <= 2
        assert len(event.alert.evidence.event_ids) <= 2
        assert len(event.alert.evidence.features) <= 2
    assert book.overflow["alert"] > 0
    assert book.overflow["finding"] > 0
    assert len(book.to_bytes()) < 20_000
    matcher = (Matcher("model", "x"),)
    assert [book.silence(Silence(str(n), matcher, at(0), at(999))) for n in range(2)] == [True, False]


def test_the_oldest_resolved_alert_makes_room() -> None:
    book = AlertBook(AlertPolicy(max_alerts=2))
    for window, model in enumerate(("a", "b", "c")):
        fields = {"scope": Scope(Family.PREDICTION, model)}
        events = play([finding(Kind.ERRORS, "errors", 2 * window, **fields), through(2 * window + 1)], book)
        assert published(events) == [("firing", "HalcyonErrors")]
        play([finding(Kind.ERRORS, "errors", 2 * window + 1, firing=False, **fields), through(2 * window + 2)], book)
    assert not book.overflow


def random_history(seed: int) -> list[FindingMessage]:
    """Two models under drift, nulls, volume and errors that come and go; the analyse stage steps back now and then."""
    rng = random.Random(seed)
    kinds = [
        (Kind.DRIFT, "features.a"),
        (Kind.DRIFT, "features.b"),
        (Kind.NULLS, "features.a"),
        (Kind.ERRORS, "errors"),
    ]
    firing: dict[tuple[int, Kind, str], int] = {}
    messages: list[FindingMessage] = []
    for window in range(250):
        for model in range(2):
            for kind, quantity in kinds:
                key = (model, kind, quantity)
                held = key in firing
                if rng.random() < (0.9 if held else 0.03):
                    since = firing.setdefault(key, window)
                    severity = rng.choice([Severity.TICKET, Severity.TICKET, Severity.PAGE])
                    fields = {"severity": severity, "since_ms": at(since), "score": rng.random()}
                elif held:
                    del firing[key]
                    fields = {"firing": False}
                else:
                    continue
                scope = Scope(Family.PREDICTION, f"m{model}", "1")
                messages.append(finding(kind, quantity, window, scope=scope, **fields))
            messages.append(through(window + 1, partition=model))
        if rng.random() < 0.05:
            back = rng.randint(1, min(40, len(messages)))
            messages += messages[-back:]
    return messages


@pytest.mark.parametrize("seed", range(20))
def test_saving_and_restoring_anywhere_changes_nothing(seed: int) -> None:
    messages, rng = random_history(seed), random.Random(-seed)
    whole = play(messages)
    book, parts = AlertBook(POLICY), []
    for message in messages:
        parts += book.fold(message)
        if rng.random() < 0.2:
            book = AlertBook.from_bytes(book.to_bytes(), POLICY)
    assert parts == whole
    assert len({event.ce_id for event in whole}) == len(whole) > 10
    assert all(decode(encode(event.alert)) == event.alert for event in whole)


@pytest.mark.parametrize("seed", range(20))
def test_published_events_of_an_alert_alternate_and_start_with_firing(seed: int) -> None:
    told: dict[str, Status] = {}
    for event in play([*random_history(seed), through(9999), through(9999, partition=1)]):
        if not event.published:
            continue
        if event.alert.status is Status.RESOLVED:
            assert told[event.alert.id] is Status.FIRING
        told[event.alert.id] = event.alert.status
    assert set(told.values()) == {Status.RESOLVED}
