"""Card transactions scored by a small model: trained on the first weeks, scoring the rest, its labels coming late.

The transactions are a public simulation. Features are what an online system would have at the time of the payment. The
model never sees the weeks that it scores, and the terminals' past counts no labels, so that the compromised terminals
and leaked cards of the simulation are hard for it, as they are in life.

Run ``python -m loadgen.fraud DATA_FOLDER OUT_FOLDER``.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from loadgen.columns import Floats, Ints
from loadgen.rolling import DAY_S, past_counts, past_means
from loadgen.tables import write_parquet

FILE: Final = Path("fraud") / "transactions_2018-04_05.csv.gz"
TRAIN_DAYS: Final = 28
LABEL_DELAY_DAYS: Final = 7
"""Charge-backs become known about a week after the payment …"""
LABEL_SPREAD_DAYS: Final = 4.0
"""… give or take a few days (exponential beyond half of the delay)."""
BLOCK_OVER: Final = 0.5
REVIEW_OVER: Final = 0.1
FEATURES: Final = (
    "amount",
    "hour",
    "weekday",
    "customer_count_1d",
    "customer_count_7d",
    "customer_mean_amount_7d",
    "terminal_count_1d",
    "terminal_count_7d",
    "terminal_mean_amount_7d",
)
PREDICTION_MAPS: Final = (
    "ts_ms=ts_ms",
    "event_id=event_id",
    "model=const:card-fraud",
    "model_version=const:hgb-1",
    "score=score",
    "decision=decision",
    *(f"features.{name}={name}" for name in FEATURES),
)
"""The mapping with which `halcyon replay predictions.parquet` plays what :func:`build` wrote."""
LABEL_MAPS: Final = ("ts_ms=ts_ms", "event_id=event_id", "model=const:card-fraud", "label=label")


@dataclass(frozen=True, slots=True)
class Transactions:
    """n payments in the order of time: ``at_s`` seconds since 1970, ``fraud`` bool[n] the truth."""

    id: Ints
    at_s: Ints
    customer: Ints
    terminal: Ints
    amount: Floats
    fraud: "np.typing.NDArray[np.bool_]"

    def __len__(self) -> int:
        return len(self.id)


def load(data: Path) -> Transactions:
    """Read the transactions below ``data``.

    Raises
    ------
    FileNotFoundError
        If they are not there; says where they were looked for.
    """
    path = data / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the folder that holds {FILE}")
    types = {"tx_datetime": pa.timestamp("s")}
    table = pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(column_types=types))
    at_s = table["tx_datetime"].cast(pa.int64()).to_numpy()
    order = np.argsort(at_s, kind="stable")
    return Transactions(
        id=table["transaction_id"].to_numpy()[order],
        at_s=at_s[order],
        customer=table["customer_id"].to_numpy()[order],
        terminal=table["terminal_id"].to_numpy()[order],
        amount=table["tx_amount"].to_numpy()[order].astype(np.float64),
        fraud=table["tx_fraud"].to_numpy()[order].astype(np.bool_),
    )


def features(transactions: Transactions) -> Floats:
    """What the model sees: float64[n, len(FEATURES)] in that order; NaN where there is no past."""
    at_s, amount = transactions.at_s, transactions.amount
    columns = [amount, (at_s % DAY_S) // 3600, (at_s // DAY_S + 3) % 7]  # 1970-01-01 was a Thursday; Monday is 0
    for keys in (transactions.customer, transactions.terminal):
        columns.append(past_counts(keys, at_s, DAY_S))
        columns.append(past_counts(keys, at_s, 7 * DAY_S))
        columns.append(past_means(keys, at_s, amount, 7 * DAY_S))
    return np.column_stack([column.astype(np.float64) for column in columns])


def scored(transactions: Transactions, train_days: int = TRAIN_DAYS, seed: int = 0) -> tuple[Ints, Floats, Floats]:
    """Train on the first days and score the others.

    Returns
    -------
    tuple
        Places of the scored payments, int64[m]; their scores 0…1, float64[m]; their features, float64[m, k].

    Raises
    ------
    ValueError
        If the first days hold no fraud to learn from, or there is nothing after them.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - an extra; heavy to import

    seen = features(transactions)
    split = int(np.searchsorted(transactions.at_s, transactions.at_s[0] + train_days * DAY_S))
    if split == len(transactions) or not transactions.fraud[:split].any():
        raise ValueError(f"the first {train_days} days must hold some fraud, and days must follow them")
    model = HistGradientBoostingClassifier(max_iter=120, learning_rate=0.08, max_leaf_nodes=15, random_state=seed)
    model.fit(seen[:split], transactions.fraud[:split])
    return np.arange(split, len(transactions)), model.predict_proba(seen[split:])[:, 1], seen[split:]


def label_times_ms(at_s: Ints, seed: int = 0) -> Ints:
    """When the truth about each payment becomes known: int64[n] ms, about a week after it."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 1])))
    days = LABEL_DELAY_DAYS / 2 + rng.exponential(LABEL_SPREAD_DAYS, size=len(at_s))
    known: Ints = (at_s * 1000 + days * DAY_S * 1000).astype(np.int64)
    return known


def build(data: Path, out: Path, seed: int = 0) -> tuple[int, int]:
    """Write ``predictions.parquet`` and ``labels.parquet`` into ``out``, each by its event time; returns their rows.

    Raises
    ------
    FileNotFoundError
        If the transactions are not there.
    """
    transactions = load(data)
    places, score, seen = scored(transactions, seed=seed)
    ids = [f"tx-{number}" for number in transactions.id[places].tolist()]
    at_s = transactions.at_s[places]
    decision = np.select([score > BLOCK_OVER, score > REVIEW_OVER], ["block", "review"], "approve")
    predictions = {
        "ts_ms": at_s * 1000,
        "event_id": ids,
        "score": score,
        "decision": decision.tolist(),
        **{name: seen[:, place] for place, name in enumerate(FEATURES)},
    }
    known_ms = label_times_ms(at_s, seed)
    order = np.argsort(known_ms, kind="stable")
    labels = {
        "ts_ms": known_ms[order],
        "event_id": [ids[place] for place in order],
        "label": transactions.fraud[places][order].astype(np.float64),
    }
    return write_parquet(out / "predictions.parquet", predictions), write_parquet(out / "labels.parquet", labels)


def main(arguments: list[str]) -> int:
    """Run from the command line; returns the exit code."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m loadgen.fraud DATA_FOLDER OUT_FOLDER\n")
        return 2
    out = Path(arguments[1])
    try:
        predictions, labels = build(Path(arguments[0]), out)
    except FileNotFoundError as error:
        sys.stderr.write(f"skipped: {error}\n")
        return 0
    sys.stdout.write(f"{predictions:,} predictions and {labels:,} labels in {out}. Play them with\n")
    for family, maps in (("predictions", PREDICTION_MAPS), ("labels", LABEL_MAPS)):
        rules = " ".join(f"--map {rule}" for rule in maps)
        sys.stdout.write(f"halcyon replay {out / family}.parquet --as {family} {rules}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
