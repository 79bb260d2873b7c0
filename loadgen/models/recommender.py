"""A recommender: many requests, small scores that look like click-through rates, features of embeddings and devices."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.columns import Ints, Response
from loadgen.models import Requests, choose, filled, lookup, sigmoid, statuses

DEVICES: Final = {"android": 0.45, "ios": 0.35, "web": 0.20}
SURFACES: Final = {"home": 0.55, "search": 0.25, "cart": 0.12, "mail": 0.08}
DEVICE_LIFT: Final = {"android": 0.0, "ios": 0.15, "web": -0.2}
SURFACE_LIFT: Final = {"home": 0.0, "search": 0.7, "cart": 0.4, "mail": -0.6}


@dataclass(frozen=True, slots=True)
class Recommender:
    """Ranks items for visitors: the model with the most traffic and the least to say about each request."""

    rate_per_s: float = 48.0
    version: str = "r184"
    name: str = "recommender"

    def ask(self, rng: np.random.Generator, ts_ms: Ints) -> Requests:
        """Draw visits; the longer the session, the longer the history the user's embedding was made from."""
        n = len(ts_ms)
        depth = rng.geometric(0.18, size=n).astype(np.float64)
        history = np.floor(np.exp(2.5 + 0.9 * rng.standard_normal(n)) + depth)
        norm = 1.0 + 0.12 * np.log1p(history) + 0.08 * rng.standard_normal(n)
        return Requests(
            segment={"device": choose(rng, DEVICES, n)},
            features={
                "user_embedding_norm": norm,
                "item_similarity": np.tanh(0.35 + 0.25 * rng.standard_normal(n)),
                "session_depth": depth,
                "history_items": history,
                "surface": choose(rng, SURFACES, n),
            },
        )

    def answer(self, rng: np.random.Generator, requests: Requests) -> Response:
        """Predict a click-through rate; a null feature counts as the mean of the others."""
        features = requests.features
        norm, similarity = filled(features["user_embedding_norm"]), filled(features["item_similarity"])
        logit = (
            -4.2
            + 0.6 * norm
            + 1.6 * similarity
            + 0.02 * np.minimum(filled(features["session_depth"]), 20)
            + lookup(DEVICE_LIFT, requests.segment["device"])
            + lookup(SURFACE_LIFT, features["surface"].astype(np.str_))
        )
        n = len(norm)
        latency = 7.5 * np.exp(0.3 * rng.standard_normal(n)) + 0.01 * np.minimum(filled(features["history_items"]), 200)
        status = statuses(rng, n, "candidate_timeout", 0.003)
        return Response(latency_ms=latency, score=sigmoid(logit + 0.2 * rng.standard_normal(n)), status=status)
