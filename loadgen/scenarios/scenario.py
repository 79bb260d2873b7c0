"""What is played: entities and a timeline over some hours of event time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from loadgen.distributions import Data
from loadgen.effects import ON_FEATURE_SETS, ON_HOSTS, ON_MODELS, ArrivalEffect, Field, LabelDelay
from loadgen.injections import Injection, truths
from loadgen.mix import Mix
from loadgen.models.entity import Entity, World
from loadgen.models.feature_sets import ServedFeatures
from loadgen.models.gpus import GpuHost
from loadgen.models.labels import LabelStream
from loadgen.models.placing import host_name
from loadgen.models.serving import ServedVersion
from loadgen.models.spec import FeatureSet, Fleet, Model
from loadgen.traffic import Clock
from loadgen.truth import Truth


class ScenarioFile(Data, frozen=True):
    """All that a scenario file can say.

    Attributes
    ----------
    about
        What it is for.
    duration_s
        How long it lasts, in event time.
    grace_s
        How long after an injection's end an alert may still come and belong to it, in event time.
    seed
        Which run it is, unless another is asked for.
    clock
        What day and hour it is at second 0.
    models, feature_sets, fleets, timeline
        Who writes events, and what is injected.
    """

    about: str
    duration_s: Annotated[int, Meta(ge=1)]
    grace_s: Annotated[int, Meta(ge=0)] = 300
    seed: Annotated[int, Meta(ge=0)] = 7
    clock: Clock = Clock()
    models: tuple[Model, ...] = ()
    feature_sets: tuple[FeatureSet, ...] = ()
    fleets: tuple[Fleet, ...] = ()
    timeline: tuple[Injection, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario with a seed.

    Attributes
    ----------
    name
        Of its file.
    spec
        What the file says.
    seed
        Any integer >= 0.
    folder
        Where the files lie that it names.
    """

    name: str
    spec: ScenarioFile
    seed: int = 7
    folder: Path = Path()

    @property
    def duration_s(self) -> int:
        """How long it lasts, in event time."""
        return self.spec.duration_s

    @property
    def grace_s(self) -> int:
        """How long after an injection's end an alert may still come and belong to it, in event time."""
        return self.spec.grace_s

    @property
    def injections(self) -> tuple[Injection, ...]:
        """The timeline."""
        return self.spec.timeline

    def truths(self, start_ms: int) -> tuple[Truth, ...]:
        """What is injected when second 0 is at ``start_ms``, ms since the epoch; by onset."""
        return truths(self.spec.timeline, start_ms, self.name, self.seed)

    def mix(self, start_ms: int) -> Mix:
        """The events when second 0 is at ``start_ms``, ms since the epoch, a whole second."""
        world = World(start_ms, self.duration_s, self.seed, self.spec.clock, self.folder)
        return Mix(tuple(self._entities(world)), start_ms)

    def _entities(self, world: World) -> Iterator[Entity]:
        spec = self.spec
        fleets = {fleet.model: fleet for fleet in spec.fleets}
        asking: dict[str, list[ServedVersion]] = {}
        for model in spec.models:
            injections = self._about(model.name)
            with _named(model.name):
                versions = [ServedVersion(model, v, injections, world, fleets.get(model.name)) for v in model.versions]
            yield from versions
            asking[model.name] = versions
            if model.labels is not None:
                yield LabelStream(model.labels, versions, injections, world)
        for feature_set in spec.feature_sets:
            with _named(feature_set.name):
                versions = asking[feature_set.model] if feature_set.serves else []
                served = ServedFeatures(feature_set, self._about(feature_set.name), world, versions)
            yield served
        traffic = {model.name: model.traffic for model in spec.models}
        for fleet in spec.fleets:
            for place in range(fleet.hosts):
                injections = self._about(host_name(fleet.name, place))
                yield GpuHost(fleet, place, traffic[fleet.model], injections, world)

    def _about(self, entity: str) -> list[Injection]:
        return [injection for injection in self.spec.timeline if injection.entity == entity]


@contextmanager
def _named(entity: str) -> Iterator[None]:
    """Name the entity in what is wrong with it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{entity}: {error}") from error


def mistakes(spec: ScenarioFile) -> Iterator[str]:
    """What contradicts itself in a scenario, one line each: where, what, what to do."""
    entities = entity_effects(spec)
    seen: set[str] = set()
    for place, injection in enumerate(spec.timeline):
        at = f"timeline[{place}] {injection.name!r}"
        if injection.name in seen:
            yield f"{at}: there is one of this name already; give it another"
        seen.add(injection.name)
        yield from _time_mistakes(at, injection, spec.duration_s)
        if injection.entity not in entities:
            yield f"{at}.entity: there is no {injection.entity!r}; there are {', '.join(entities)}"
            continue
        for effect in injection.effects:
            if not isinstance(effect, entities[injection.entity]):
                tag = effect.__struct_config__.tag
                yield f"{at}.effects: {tag!r} does nothing to {injection.entity!r}, which is none of its kind"
    models = {model.name: model for model in spec.models}
    yield from _set_mistakes(spec.feature_sets, models)
    for place, fleet in enumerate(spec.fleets):
        if fleet.model not in models:
            yield f"fleets[{place}].model: there is no model {fleet.model!r}; there are {', '.join(models)}"
    for place, injection in enumerate(spec.timeline):
        if injection.entity in models:
            yield from _where_mistakes(f"timeline[{place}] {injection.name!r}", injection, models[injection.entity])


def entity_effects(spec: ScenarioFile) -> Mapping[str, Any]:
    """The entities that can be struck, and by which effects."""
    hosts = [host_name(fleet.name, place) for fleet in spec.fleets for place in range(fleet.hosts)]
    return {
        **{model.name: ON_MODELS for model in spec.models},
        **{feature_set.name: ON_FEATURE_SETS for feature_set in spec.feature_sets},
        **dict.fromkeys(hosts, ON_HOSTS),
    }


def _set_mistakes(feature_sets: Sequence[FeatureSet], models: Mapping[str, Model]) -> Iterator[str]:
    for place, spec in enumerate(feature_sets):
        at, model = f"feature_sets[{place}]", models.get(spec.model)
        own = spec.traffic is not None or bool(spec.values)
        if not spec.serves and (spec.traffic is None or not spec.values):
            yield f"{at}: give `traffic` and `values`, or `serves`: features of its model"
        elif spec.serves and own:
            yield f"{at}.serves: its traffic and values are those of the requests: leave `traffic` and `values` out"
        elif spec.serves and model is None:
            yield f"{at}.model: there is no model {spec.model!r} whose features it could serve"
        for name in spec.serves if model else ():
            if model and name not in model.features:
                yield f"{at}.serves: {model.name} has no feature {name!r}; there are {', '.join(model.features)}"


def _time_mistakes(at: str, injection: Injection, duration_s: int) -> Iterator[str]:
    if not 0 <= injection.onset_s < injection.end_s:
        yield f"{at}: it must end after its onset, not last from {injection.onset_s} s to {injection.end_s} s"
    if injection.end_s > duration_s:
        yield f"{at}: it outlasts the scenario, {injection.end_s} s of {duration_s} s: end it earlier"


def _where_mistakes(at: str, injection: Injection, model: Model) -> Iterator[str]:
    where, versions = injection.where, [version.name for version in model.versions]
    if where.version and where.version not in versions:
        yield f"{at}.where.version: there is no {where.version!r}; there are {', '.join(versions)}"
    for name in where.segment:
        if name not in model.segments:
            yield f"{at}.where.segment: there is no segment {name!r}; there are {', '.join(model.segments)}"
    limited = bool(where.segment or where.host)
    whole = [e.__struct_config__.tag for e in injection.effects if isinstance(e, ArrivalEffect | Field | LabelDelay)]
    if limited and whole:
        yield f"{at}.where: {', '.join(map(str, whole))} strikes a version or the whole: leave segment and host out"
