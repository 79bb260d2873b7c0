"""What holds after whatever was done to an installation."""

from collections import Counter, defaultdict
from typing import Final

from schemas.alerts import Alert, Status
from streams.alert.policy import Group
from tests.harness.installation import Installation
from tests.harness.oracle import Oracle, check_categories, check_numerics, check_volumes, wait_shown
from tests.harness.waiting import wait_for

SHOWN_S: Final = 90.0


def check_everything(installation: Installation, oracle: Oracle, timeout_s: float = SHOWN_S) -> None:
    """Wait for the last windows; then every number in ClickHouse is the oracle's."""
    wait_shown(installation, oracle, timeout_s)
    check_volumes(installation, oracle)
    check_categories(installation, oracle)
    check_numerics(installation, oracle)


def slow(installation: Installation, model: tuple[str, str]) -> list[Alert]:
    """The events so far of alerts that a model is slow."""
    wanted = {"alertname": Group.LATENCY.value, "model": model[0], "model_version": model[1]}
    return [body for _, body in installation.alerts() if wanted.items() <= body.labels.items()]


def wait_slow(installation: Installation, model: tuple[str, str], timeout_s: float = SHOWN_S) -> list[Alert]:
    """Wait for the first of them."""
    return wait_for(f"{model} is said to be slow", lambda: slow(installation, model), timeout_s)


def check_alerts(installation: Installation, model: tuple[str, str]) -> dict[str, int]:
    """No id comes twice; the model's regression fires once, updates apart; nobody else is said to be slow.

    Returns
    -------
    How many events of each kind of alert there are.
    """
    wait_slow(installation, model)
    events = installation.alerts()
    twice = {ce_id: count for ce_id, count in Counter(ce_id for ce_id, _ in events).items() if count > 1}
    assert not twice, f"alert events that came more than once: {twice}"
    episodes: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for _, body in events:
        if body.labels["alertname"] == Group.LATENCY and body.status is Status.FIRING:
            who = (body.labels["model"], body.labels.get("model_version", ""))
            episodes[who][body.id].append(body.sequence)
    assert set(episodes) == {model}, f"models said to be slow: {sorted(episodes)}"
    assert len(episodes[model]) == 1, f"one regression, several episodes: {dict(episodes[model])}"
    (sequences,) = episodes[model].values()
    assert sequences == sorted(set(sequences)), f"events of one alert out of order: {sequences}"
    assert sequences[0] == 1
    return dict(Counter(f"{body.labels['alertname']} {body.status}" for _, body in events))
