"""A version of a serving model: requests come, are scored and answered; and what turns out to be true of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from loadgen.columns import Bools, Columns, Floats, Ints, Predictions, Texts, rows
from loadgen.distributions import Choice
from loadgen.effects import AnswerEffect, Concept, Crowd, Duplicates, Effect, Field, FlipLabels, Misread, ScoreEffect
from loadgen.effects.struck import Struck
from loadgen.injections import Injection, periods, rate_factor
from loadgen.models.answering import Answering
from loadgen.models.entity import World
from loadgen.models.placing import Places
from loadgen.models.sampling import Asked, Sampler
from loadgen.models.spec import Fleet, Model, Version
from loadgen.randomness import Draws, key_of
from loadgen.traffic import Arrivals, Arrived
from schemas.topics import TopicName


@dataclass(frozen=True, slots=True)
class _Batch:
    """Requests as they are, as the model sees them, and what else the answer depends on."""

    arrived: Arrived
    draws: Draws
    host: Texts | None
    gpu: Texts | None
    real: Asked
    asked: Asked
    load: Floats
    under: tuple[tuple[Injection, Struck], ...]

    def effects(self) -> Iterator[tuple[Effect, Struck]]:
        """All that is done to these rows, in the order of the timeline."""
        for injection, struck in self.under:
            for effect in injection.effects:
                yield effect, struck


class ServedVersion:
    """One version of a model.

    Parameters
    ----------
    model, version
        What it is; its share of the traffic changes with the other versions that are live.
    injections
        Those of the model; the ones about another version leave it alone.
    world
        See :class:`World`.
    fleet
        The GPUs that serve the model, if any.
    """

    topic: Final = TopicName.PREDICTIONS

    def __init__(
        self, model: Model, version: Version, injections: Sequence[Injection], world: World, fleet: Fleet | None = None
    ) -> None:
        self._model, self._version, self._world = model, version, world
        self._injections = [i for i in injections if i.where.version in {"", version.name}]
        self._key = key_of(world.seed, "model", model.name, version.name)
        self._arrivals = Arrivals(model.traffic, world.clock, self._key, world.folder)
        self._sampler = Sampler(
            model.features, model.segments, model.correlations, model.populations, model.traffic.daily_peak_hour
        )
        self._answering = Answering(model, self._sampler.known)
        self._places = Places(model.hosts, fleet)
        self._keys = Choice(model.traffic.hot_keys) if model.traffic.hot_keys else None
        many = len(model.versions) > 1
        self._head = f"{model.name}-{version.name}-{world.seed}" if many else f"{model.name}-{world.seed}"

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    def blocks(self, seconds: Ints) -> list[Columns]:
        """See :class:`loadgen.models.entity.Entity`."""
        made = (self._predictions(self._batch(piece, active)) for piece, active in periods(self._injections, seconds))
        return [block for block in made if len(block)]

    def outcomes(self, seconds: Ints) -> Iterator[tuple[list[str], Ints, Bools, Bools]]:
        """What turns out to be true of the requests of these seconds, int64[n], ascending.

        Yields
        ------
        tuple
            Event ids, their seconds (int64[n]), their labels (bool[n]), and which are ever told (bool[n]).
        """
        for piece, active in periods(self._injections, seconds):
            batch = self._batch(piece, active)
            label = self._label(batch)
            spec = self._model.labels
            told = batch.draws.happens("labelled", spec.share_ratio if spec else 0.0)
            yield self._event_ids(batch.arrived), batch.arrived.second, label, told

    def requests(self, seconds: Ints) -> Iterator[tuple[list[str], Arrived, Draws, Asked]]:
        """The requests of these seconds, int64[n], ascending, as they are: ids, when they came, and what is asked."""
        for piece, active in periods(self._injections, seconds):
            batch = self._batch(piece, active)
            yield self._event_ids(batch.arrived), batch.arrived, batch.draws, batch.real

    def _batch(self, seconds: Ints, active: Sequence[Injection]) -> _Batch:
        factor = rate_factor(active, seconds)
        arrived = self._arrivals.at(seconds, factor * self._share(seconds))
        draws = Draws.of(self._key, arrived.second, arrived.place)
        asked = self._sampler.draw(draws, self._world.clock.hours(arrived.second))
        host, gpu = self._places.of(draws)
        if host is not None and self._places.are_segments:
            asked = replace(asked, segment={**asked.segment, "host": host})
        under = tuple((i, i.struck(arrived.second, draws, i.chosen(asked.segment, host))) for i in active)
        load = self._load(seconds, factor)[np.searchsorted(seconds, arrived.second)]
        batch = _Batch(arrived, draws, host, gpu, asked, asked, load, under)
        for effect, struck in batch.effects():
            if isinstance(effect, Crowd):
                asked = effect.strike(asked, struck)
        real = asked
        for effect, struck in batch.effects():
            if isinstance(effect, Misread | Field):
                asked = effect.strike(asked, struck)
        return replace(batch, real=real, asked=asked)

    def _predictions(self, batch: _Batch) -> Predictions:
        score = self._answering.score(batch.asked, batch.draws)
        for effect, struck in batch.effects():
            if isinstance(effect, ScoreEffect) and score is not None:
                score = effect.strike_score(score, struck)
        slowness = batch.load * self._places.slowness(batch.host)
        response = self._answering.answer(batch.asked, batch.draws, slowness, score)
        features = batch.asked.features
        for effect, struck in batch.effects():
            if isinstance(effect, AnswerEffect):
                response = effect.strike(response, struck)
            elif isinstance(effect, Field):
                features = effect.on_wire(features, struck)
        block = Predictions(
            model=self._model.name,
            model_version=self._version.name,
            event_id=self._event_ids(batch.arrived),
            ts_ms=batch.arrived.ts_ms + self._world.start_ms,
            segment=batch.asked.segment,
            features=features,
            response=response,
            host=batch.host,
            gpu_uuid=batch.gpu,
            key=None if self._keys is None else self._keys.of(batch.draws.normal("key")),
        )
        for effect, struck in batch.effects():
            if isinstance(effect, Duplicates):
                # One storm at a time: the rows of a second one would no longer be these.
                return rows(block, effect.places(struck))
        return block

    def _label(self, batch: _Batch) -> Bools:
        logit = self._answering.logit(batch.real)
        for effect, struck in batch.effects():
            if isinstance(effect, Concept):
                logit = effect.strike_logit(logit, struck)
        drawn = batch.draws.uniform("label") < 1 / (1 + np.exp(-logit))
        label = np.where(batch.real.label < 0, drawn, batch.real.label == 1)
        for effect, struck in batch.effects():
            if isinstance(effect, FlipLabels):
                label = effect.strike_label(label, struck)
        return label

    def _share(self, seconds: Ints) -> Floats:
        """The share of the traffic that comes to it, float64[n]."""
        weights = np.stack(
            [np.where((seconds >= v.from_s) & (seconds < v.until_s), v.weight, 0.0) for v in self._model.versions]
        )
        own = weights[self._model.versions.index(self._version)]
        return np.asarray(own / np.maximum(weights.sum(axis=0), 1e-12), np.float64)

    def _load(self, seconds: Ints, factor: Floats) -> Floats:
        """By what latency is multiplied for the load of these seconds, float64[n]."""
        per_load = self._model.latency.per_load_ratio if self._model.latency else 0.0
        traffic = self._model.traffic
        rate = traffic.rate(seconds, self._world.clock) * factor if per_load else traffic.rate_per_s
        return np.maximum(1.0 + per_load * (rate / traffic.rate_per_s - 1.0), 0.5) * np.ones(len(seconds))

    def _event_ids(self, arrived: Arrived) -> list[str]:
        head = self._head
        return [f"{head}-{s}-{p}" for s, p in zip(arrived.second.tolist(), arrived.place.tolist(), strict=True)]
