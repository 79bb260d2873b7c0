import gzip
from pathlib import Path

import numpy as np
import pytest

from loadgen import fraud, llm_trace
from loadgen.replay.events import prepare
from loadgen.rolling import past_counts, past_means

DAY_S = 86_400


def naive(keys: np.ndarray, at_s: np.ndarray, amounts: np.ndarray, span_s: int) -> tuple[list[int], list[float]]:
    counts, means = [], []
    for place in range(len(keys)):
        past = [
            amounts[other]
            for other in range(place)
            if keys[other] == keys[place] and at_s[place] - span_s <= at_s[other]
        ]
        counts.append(len(past))
        means.append(float(np.mean(past)) if past else float("nan"))
    return counts, means


@pytest.mark.parametrize("seed", range(5))
def test_rolling_features_equal_a_look_at_every_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 200
    keys = rng.integers(0, 6, n)
    at_s = np.sort(rng.integers(1_500_000_000, 1_500_000_000 + 20 * 3600, n))
    amounts = rng.lognormal(3, 1, n)
    counts, means = naive(keys, at_s, amounts, 3600)
    assert past_counts(keys, at_s, 3600).tolist() == counts
    np.testing.assert_allclose(past_means(keys, at_s, amounts, 3600), means, rtol=1e-9)


def transactions(days: int = 12, seed: int = 1) -> fraud.Transactions:
    """Payments of which the large ones are fraud."""
    rng = np.random.default_rng(seed)
    n = days * 300
    amount = rng.lognormal(3, 1, n)
    return fraud.Transactions(
        id=np.arange(n),
        at_s=1_500_000_000 + np.sort(rng.integers(0, days * DAY_S, n)),
        customer=rng.integers(0, 50, n),
        terminal=rng.integers(0, 80, n),
        amount=amount,
        fraud=amount > 120,
    )


def test_the_model_scores_what_it_was_not_trained_on_and_learns_something() -> None:
    pytest.importorskip("sklearn")
    given = transactions()
    places, scores, seen = fraud.scored(given, train_days=8)
    assert given.at_s[places].min() >= given.at_s[0] + 8 * DAY_S
    assert seen.shape == (len(places), len(fraud.FEATURES))
    assert scores[given.fraud[places]].mean() > 10 * scores[~given.fraud[places]].mean()


def test_weekdays_begin_with_monday() -> None:
    given = transactions(days=2)
    weekday = fraud.features(given)[:, fraud.FEATURES.index("weekday")]
    # 2017-07-14T02:40Z, where these payments begin, was a Friday.
    assert weekday[0] == 4


def test_training_days_must_leave_something() -> None:
    with pytest.raises(ValueError, match="first 99 days"):
        fraud.scored(transactions(), train_days=99)


def test_labels_come_days_later() -> None:
    at_s = np.arange(1_500_000_000, 1_500_000_000 + 1000)
    delay_days = (fraud.label_times_ms(at_s) - at_s * 1000) / 1000 / DAY_S
    assert delay_days.min() >= fraud.LABEL_DELAY_DAYS / 2
    assert fraud.LABEL_DELAY_DAYS < delay_days.mean() < 1.5 * fraud.LABEL_DELAY_DAYS


def test_the_llm_trace_becomes_predictions(tmp_path: Path) -> None:
    source = tmp_path / llm_trace.FILE
    source.parent.mkdir()
    rows = "\n".join(f"2023-11-16 18:15:{second:02d}.6805900,{100 * second},{second}" for second in range(1, 50))
    source.write_bytes(gzip.compress(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}\n".encode()))
    out = tmp_path / "out.parquet"
    assert llm_trace.build(tmp_path, out) == 49
    replay = prepare(out, "predictions", llm_trace.MAPS)
    messages = list(replay.messages())
    assert len(messages) == 49
    assert replay.first_ms == 1_700_158_501_680


@pytest.mark.parametrize("build", [fraud.main, llm_trace.main])
def test_missing_data_is_said_and_skipped(build: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build([str(tmp_path), str(tmp_path / "out")]) == 0  # type: ignore[operator]
    assert "is missing" in capsys.readouterr().err
    assert build([]) == 2  # type: ignore[operator]
