"""What holds after whatever was done to an installation."""

from collections import Counter, defaultdict
from typing import Final

from schemas.alerts import Alert, Status
from streams.alert.policy import Group
from tests.harness.installation import Installation
from tests.harness.oracle import Edges, Oracle, check_categories, check_ids, check_numerics, check_volumes, wait_shown
from tests.harness.waiting import wait_for

SHOWN_S: Final = 240.0


def check_everything(
    installation: Installation, oracle: Oracle, timeout_s: float = SHOWN_S, *, edges: Edges | None = None
) -> None:
    """Wait for the last windows; then every number in ClickHouse is the oracle's.

    ``edges`` are those of baselines that were in force throughout; None: they were learned on the way.
    """
    wait_shown(installation, oracle, timeout_s)
    check_volumes(installation, oracle)
    check_ids(installation, oracle)
    check_categories(installation, oracle)
    check_numerics(installation, oracle, edges=edges)


def slow(installation: Installation, model: tuple[str, str]) -> list[Alert]:
    """The events so far of alerts that a model is slow."""
    wanted = {"alertname": Group.LATENCY.value, "model": model[0], "model_version": model[1]}
    return [body for _, body in installation.alerts() if wanted.items() <= body.labels.items()]


def wait_slow(installation: Installation, model: tuple[str, str], timeout_s: float = SHOWN_S) -> list[Alert]:
    """Wait for the first of them."""
    return wait_for(f"{model} is said to be slow", lambda: slow(installation, model), timeout_s)


def check_alerts(installation: Installation, model: tuple[str, str]) -> dict[str, int]:
    """No id comes twice, nor a sequence of an episode; the model's regression fires once, updates apart.

    Returns
    -------
    How many events of each kind of alert there are.
    """
    wait_slow(installation, model)
    events = installation.alerts()
    twice = {ce_id: count for ce_id, count in Counter(ce_id for ce_id, _ in events).items() if count > 1}
    assert not twice, f"alert events that came more than once: {twice}"
    episodes: dict[str, list[int]] = defaultdict(list)
    for _, body in events:
        episodes[body.id].append(body.sequence)
    doubled = {alert: sequences for alert, sequences in episodes.items() if sequences != sorted(set(sequences))}
    assert not doubled, f"events of one alert doubled or out of order: {doubled}"
    fired = {body.id: body.starts_at for body in slow(installation, model) if body.status is Status.FIRING}
    assert len(fired) == 1, f"one regression, several episodes: {fired}"
    assert episodes[next(iter(fired))][0] == 1, "its first event is not on the topic"
    return dict(Counter(f"{body.labels['alertname']} {body.status}" for _, body in events))
