"""Feature sets: what a feature store serves, and how old it is."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from loadgen.columns import Column, Columns, FeatureReads, Ints, rows
from loadgen.effects import Duplicates, Field, RequestEffect, Stale
from loadgen.injections import Injection, periods, rate_factor
from loadgen.models.entity import World
from loadgen.models.sampling import Sampler
from loadgen.models.spec import FeatureSet
from loadgen.randomness import Draws, key_of
from loadgen.traffic import Arrivals
from schemas.topics import TopicName


class ServedFeatures:
    """The reads of a feature set."""

    topic: Final = TopicName.FEATURES

    def __init__(self, spec: FeatureSet, injections: Sequence[Injection], world: World) -> None:
        self._spec, self._injections, self._world = spec, injections, world
        self._key = key_of(world.seed, "features", spec.name)
        self._arrivals = Arrivals(spec.traffic, world.clock, self._key, world.folder)
        self._sampler = Sampler(spec.values, None, spec.correlations, None, spec.traffic.daily_peak_hour)

    @property
    def name(self) -> str:
        """The feature set's name."""
        return self._spec.name

    def blocks(self, seconds: Ints) -> list[Columns]:
        """See :class:`loadgen.models.entity.Entity`."""
        made = (self._reads(piece, active) for piece, active in periods(self._injections, seconds))
        return [block for block in made if len(block)]

    def _reads(self, seconds: Ints, active: Sequence[Injection]) -> FeatureReads:
        spec = self._spec
        arrived = self._arrivals.at(seconds, rate_factor(active, seconds))
        draws = Draws.of(self._key, arrived.second, arrived.place)
        asked = self._sampler.draw(draws, self._world.clock.hours(arrived.second))
        ts_ms = arrived.ts_ms + self._world.start_ms
        age_ms = 1000 * spec.age_median_s * np.exp(spec.age_sigma * draws.normal("age"))
        source_ts_ms = ts_ms - age_ms.astype(np.int64)
        under = [(effect, i.struck(arrived.second, draws)) for i in active for effect in i.effects]
        for effect, struck in under:
            if isinstance(effect, RequestEffect | Field):
                asked = effect.strike(asked, struck)
            elif isinstance(effect, Stale):
                source_ts_ms = effect.source_ts_ms(ts_ms, source_ts_ms, struck)
        values: dict[str, Column] = asked.features
        places = np.arange(len(ts_ms))
        for effect, struck in under:
            if isinstance(effect, Field):
                values = effect.on_wire(values, struck)
            elif isinstance(effect, Duplicates):
                places = effect.places(struck)
        entity = (draws.uniform("entity") * spec.entities).astype(np.int64)
        head = f"{spec.name}-{self._world.seed}"
        ids = [f"{head}-{s}-{p}" for s, p in zip(arrived.second.tolist(), arrived.place.tolist(), strict=True)]
        keys = np.char.mod("entity-%d", entity)
        return rows(FeatureReads(spec.name, spec.model, ids, keys, ts_ms, source_ts_ms, values), places)
