"""A card-fraud scorer: few frauds, heavy-tailed amounts, a score that is a logistic of what it sees."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.columns import Floats, Ints, Response
from loadgen.models import Requests, choose, filled, local_hours, lookup, sigmoid, statuses

COUNTRIES: Final = {"DE": 0.45, "FR": 0.30, "PL": 0.25}
CATEGORIES: Final = {
    "grocery": 0.38,
    "fuel": 0.17,
    "restaurant": 0.2,
    "electronics": 0.12,
    "travel": 0.08,
    "gambling": 0.05,
}
CATEGORY_RISK: Final = {
    "grocery": -0.5,
    "fuel": -0.3,
    "restaurant": 0.0,
    "electronics": 0.5,
    "travel": 0.6,
    "gambling": 1.2,
}
CATEGORY_LOG_AMOUNT: Final = {
    "grocery": 3.4, "fuel": 3.7, "restaurant": 3.3, "electronics": 4.6, "travel": 5.1, "gambling": 4.0,
}  # fmt: skip
COUNTRY_LOG_AMOUNT: Final = {"DE": 0.0, "FR": 0.05, "PL": -0.25}
BLOCK_OVER: Final = 0.5
REVIEW_OVER: Final = 0.2


@dataclass(frozen=True, slots=True)
class FraudScorer:
    """Scores card payments. One payment in some hundreds comes from a stolen card: larger, faster, at night."""

    rate_per_s: float = 24.0
    version: str = "2026-05"
    stolen_ratio: float = 0.004
    name: str = "fraud-scorer"

    def ask(self, rng: np.random.Generator, ts_ms: Ints) -> Requests:
        """Draw payments; amount depends on category, country and whether the card is stolen, velocity on the latter."""
        n = len(ts_ms)
        country = choose(rng, COUNTRIES, n)
        category = choose(rng, CATEGORIES, n)
        stolen = rng.random(n) < self.stolen_ratio
        log_amount = lookup(CATEGORY_LOG_AMOUNT, category) + lookup(COUNTRY_LOG_AMOUNT, country)
        amount: Floats = np.exp(log_amount + 0.7 * rng.standard_normal(n) + 0.9 * stolen)
        velocity = rng.poisson(1.6 + 5.0 * stolen + 0.3 * (amount < 20)).astype(np.float64)
        hour = np.where(stolen, rng.integers(0, 6, size=n), local_hours(rng, ts_ms)).astype(np.float64)
        return Requests(
            segment={"country": country},
            features={
                "amount": np.round(amount, 2).astype(np.float64),
                "velocity_24h": velocity,
                "local_hour": hour,
                "account_age_days": np.floor(np.exp(6.0 + 0.8 * rng.standard_normal(n)) * np.where(stolen, 0.5, 1.0)),
                "merchant_category": category,
            },
        )

    def answer(self, rng: np.random.Generator, requests: Requests) -> Response:
        """Score from a logistic over the features; block and review by thresholds; a fast model with a short tail."""
        features = requests.features
        amount, velocity = filled(features["amount"]), filled(features["velocity_24h"])
        night = filled(features["local_hour"]) < 6
        logit = (
            -7.2
            + 0.8 * np.log1p(amount)
            + 0.35 * velocity
            + 0.6 * night
            + lookup(CATEGORY_RISK, features["merchant_category"].astype(np.str_))
            - 0.0003 * filled(features["account_age_days"])
        )
        score = sigmoid(logit + 0.3 * rng.standard_normal(len(amount)))
        decision = np.select([score > BLOCK_OVER, score > REVIEW_OVER], ["block", "review"], "approve")
        latency = 11.0 * np.exp(0.35 * rng.standard_normal(len(amount)))
        status = statuses(rng, len(amount), "feature_store_timeout", 0.002)
        return Response(latency_ms=latency, score=score, status=status, decision=decision)
