from streams.topics import Action, Found, Topic, plan


def found(partitions: int = 4, copies: int = 1, **effective: str) -> Found:
    return Found(partitions, copies, config={}, effective={name.replace("_", "."): v for name, v in effective.items()})


WANTED = Topic("panes", 4, 1, {"retention.ms": "60000", "cleanup.policy": "delete"})
AS_WANTED = found(retention_ms="60000", cleanup_policy="delete")


def test_a_missing_topic_is_created_with_its_settings() -> None:
    (change,) = plan([WANTED], {})
    assert change.action is Action.CREATE
    assert change.partitions == 4
    assert change.config == WANTED.config


def test_a_topic_as_wanted_is_left_alone() -> None:
    assert plan([WANTED], {"panes": AS_WANTED}) == []


def test_partitions_grow_and_never_shrink() -> None:
    (grown,) = plan([WANTED], {"panes": found(2, retention_ms="60000", cleanup_policy="delete")})
    assert (grown.action, grown.partitions) == (Action.GROW, 4)
    (kept,) = plan([WANTED], {"panes": found(8, retention_ms="60000", cleanup_policy="delete")})
    assert kept.action is Action.KEEP
    assert "8" in kept.detail


def test_a_fixed_topic_keeps_its_partitions() -> None:
    fixed = Topic("state", 4, 1, {}, fixed=True)
    (kept,) = plan([fixed], {"state": found(2)})
    assert kept.action is Action.KEEP
    assert "move its keys" in kept.detail
    assert plan([fixed], {})[0].action is Action.CREATE


def test_only_settings_that_differ_are_set() -> None:
    (change,) = plan([WANTED], {"panes": found(retention_ms="1000", cleanup_policy="delete")})
    assert change.action is Action.CONFIGURE
    assert change.config == {"retention.ms": "60000"}
    assert "1000 → 60000" in change.detail


def test_another_number_of_copies_is_said_and_left() -> None:
    (change,) = plan([WANTED], {"panes": found(4, 3, retention_ms="60000", cleanup_policy="delete")})
    assert change.action is Action.KEEP
    assert "3 copies" in change.detail


def test_topics_that_are_not_declared_are_none_of_our_business() -> None:
    assert plan([WANTED], {"panes": AS_WANTED, "someone-elses": found()}) == []
