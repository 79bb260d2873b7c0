"""Feature sets: what a feature store serves, and how old it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from loadgen.columns import Column, Columns, FeatureReads, Floats, Ints, rows
from loadgen.effects import Duplicates, Field, RequestEffect, Stale
from loadgen.injections import Injection, periods, rate_factor
from loadgen.models.entity import World
from loadgen.models.sampling import Asked, Sampler
from loadgen.models.serving import ServedVersion
from loadgen.models.spec import FeatureSet
from loadgen.randomness import Draws, key_of
from loadgen.traffic import Arrivals, Arrived
from schemas.topics import TopicName


@dataclass(frozen=True, slots=True)
class _Reads:
    """What is read, before anything is done to it."""

    ids: list[str]
    arrived: Arrived
    draws: Draws
    asked: Asked


class ServedFeatures:
    """The reads of a feature set.

    Parameters
    ----------
    spec
        What it is.
    injections
        Those of the feature set.
    world
        See :class:`World`.
    versions
        Of its model, where it serves what that model's requests read.
    """

    topic: Final = TopicName.FEATURES

    def __init__(
        self, spec: FeatureSet, injections: Sequence[Injection], world: World, versions: Sequence[ServedVersion] = ()
    ) -> None:
        self._spec, self._injections, self._world, self._versions = spec, injections, world, versions
        self._key = key_of(world.seed, "features", spec.name)
        self._arrivals = Arrivals(spec.traffic, world.clock, self._key, world.folder) if spec.traffic else None
        peak_hour = spec.traffic.daily_peak_hour if spec.traffic else 15.0
        self._sampler = Sampler(spec.values, None, spec.correlations, None, peak_hour)

    @property
    def name(self) -> str:
        """The feature set's name."""
        return self._spec.name

    def blocks(self, seconds: Ints) -> list[Columns]:
        """See :class:`loadgen.models.entity.Entity`."""
        made = (
            self._told(reads, active)
            for piece, active in periods(self._injections, seconds)
            for reads in self._reads(piece, active)
        )
        return [block for block in made if len(block)]

    def _reads(self, seconds: Ints, active: Sequence[Injection]) -> Iterator[_Reads]:
        factor = rate_factor(active, seconds)
        if self._arrivals is not None:
            arrived = self._arrivals.at(seconds, factor)
            draws = Draws.of(self._key, arrived.second, arrived.place)
            asked = self._sampler.draw(draws, self._world.clock.hours(arrived.second))
            head = f"{self._spec.name}-{self._world.seed}"
            ids = [f"{head}-{s}-{p}" for s, p in zip(arrived.second.tolist(), arrived.place.tolist(), strict=True)]
            yield _Reads(ids, arrived, draws, asked)
        for version in self._versions:
            for reads in version.requests(seconds):
                yield self._asked_for(_Reads(*reads), seconds, factor)

    def _asked_for(self, reads: _Reads, seconds: Ints, factor: Floats) -> _Reads:
        """The reads of a version's requests; where there are fewer than usual, something else answers the others."""
        second, place = reads.arrived.second, reads.arrived.place
        luck = reads.draws.uniform(f"{self._spec.name}.read")
        kept = np.flatnonzero(luck < factor[np.searchsorted(seconds, second)])
        arrived = Arrived(second[kept], place[kept], reads.arrived.ts_ms[kept])
        features: dict[str, Column] = {name: reads.asked.features[name][kept] for name in self._spec.serves}
        asked = replace(reads.asked, segment={}, features=features, label=reads.asked.label[kept])
        return _Reads(
            [reads.ids[i] for i in kept.tolist()], arrived, Draws.of(self._key, second[kept], place[kept]), asked
        )

    def _told(self, reads: _Reads, active: Sequence[Injection]) -> FeatureReads:
        spec, arrived, draws, asked = self._spec, reads.arrived, reads.draws, reads.asked
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
        keys = np.char.mod("entity-%d", entity)
        return rows(FeatureReads(spec.name, spec.model, reads.ids, keys, ts_ms, source_ts_ms, values), places)
