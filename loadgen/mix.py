"""A mix of serving models under faults: every second of every model can be made alone, and is always the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.columns import Ints, Predictions
from loadgen.faults import Fault, active_at, rate_factor, strike_features, strike_response
from loadgen.models import Requests, ServingModel

DAY_MS: Final = 86_400_000
RHYTHM_RATIO: Final = 0.1
"""How far the rate rises over and falls under its mean in the course of a day."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Serving models, the faults that strike them, and a seed.

    The random numbers of a model's second come from a seed sequence of their own, keyed by the model's place and the
    second: what is generated depends neither on batching nor on how many processes share the work, and a fault changes
    nothing outside its own time and model.

    Attributes
    ----------
    models
        In an order that is part of the seed.
    faults
        May overlap.
    start_ms
        Event time of second 0, ms since the epoch.
    seed
        Any integer >= 0.
    """

    models: Sequence[ServingModel]
    faults: Sequence[Fault]
    start_ms: int
    seed: int = 0

    def __post_init__(self) -> None:
        known = {model.name for model in self.models}
        for fault in self.faults:
            if fault.model not in known:
                raise ValueError(f"fault {fault.name!r} strikes {fault.model!r}; there are {', '.join(sorted(known))}")

    def second(self, place: int, second: int) -> Predictions:
        """The predictions of model number ``place`` in one second of the scenario."""
        model = self.models[place]
        faults = active_at([fault for fault in self.faults if fault.model == model.name], second)
        arrivals, asked, struck, answered = _generators(self.seed, place, second)
        ts_ms = self._arrivals(arrivals, model.rate_per_s * rate_factor(faults), second)
        requests = model.ask(asked, ts_ms)
        features = strike_features(requests.features, faults, struck)
        response = model.answer(answered, Requests(requests.segment, features))
        return Predictions(
            model=model.name,
            model_version=model.version,
            event_id=[f"{model.name}-{self.seed}-{second}-{index}" for index in range(len(ts_ms))],
            ts_ms=ts_ms,
            segment=requests.segment,
            features=features,
            response=strike_response(response, faults, struck),
        )

    def seconds(self, first: int, last: int) -> Iterator[list[Predictions]]:
        """One list per second of ``first <= second < last``: the predictions of each model."""
        for second in range(first, last):
            yield [self.second(place, second) for place in range(len(self.models))]

    def _arrivals(self, rng: np.random.Generator, rate_per_s: float, second: int) -> Ints:
        at_ms = self.start_ms + second * 1000
        rhythm = 1.0 + RHYTHM_RATIO * np.sin(2 * np.pi * (at_ms % DAY_MS) / DAY_MS)
        offsets = np.sort(rng.integers(0, 1000, size=rng.poisson(rate_per_s * rhythm)))
        return offsets.astype(np.int64) + at_ms


def _generators(seed: int, place: int, second: int) -> list[np.random.Generator]:
    """One stream per step, so that a fault that draws more numbers does not change what the other steps draw."""
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(place, second))
    return [np.random.Generator(np.random.PCG64(child)) for child in sequence.spawn(4)]
