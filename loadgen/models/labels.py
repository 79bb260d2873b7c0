"""Labels: what turned out to be true of a model's predictions, some time after them."""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np

from loadgen.columns import Columns, Ints, Labels
from loadgen.effects import LabelDelay
from loadgen.injections import Injection
from loadgen.models.entity import World
from loadgen.models.serving import ServedVersion
from loadgen.models.spec import LabelSpec
from loadgen.randomness import Draws, key_of
from schemas.topics import TopicName

_CATCH_UP_S: Final = 60
"""What was held back has come by the end of a delay, within so many seconds before it."""


class LabelStream:
    """The labels of a model.

    When the predictions of a second become known is drawn for the second as a whole: which labels come in a span
    follows from that alone, and only these predictions are made again.

    Parameters
    ----------
    spec
        When labels come.
    versions
        The model's versions.
    injections
        Those of the model: delays of labels strike here, the others in the versions.
    world
        See :class:`World`.
    """

    topic: Final = TopicName.LABELS

    def __init__(
        self, spec: LabelSpec, versions: Sequence[ServedVersion], injections: Sequence[Injection], world: World
    ) -> None:
        self._spec, self._versions, self._world = spec, versions, world
        self._delays = [(i, e) for i in injections for e in i.effects if isinstance(e, LabelDelay)]
        self._key = key_of(world.seed, "labels", versions[0].name)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._versions[0].name

    def blocks(self, seconds: Ints) -> list[Columns]:
        """See :class:`loadgen.models.entity.Entity`."""
        asked = np.flatnonzero(np.isin(self._known, seconds))
        made = [found for version in self._versions for found in version.outcomes(asked)]
        event_id = [one for ids, _, _, told in made for one in np.array(ids, np.object_)[told].tolist()]
        if not event_id:
            return []
        at = np.concatenate([second[told] for _, second, _, told in made])
        label = np.concatenate([label[told] for _, _, label, told in made])
        jitter = Draws.of(self._key, at, np.arange(len(at)) * 0).uniform("jitter") * 1000
        ts_ms = self._world.start_ms + self._known[at] * 1000 + jitter.astype(np.int64)
        order = np.argsort(ts_ms, kind="stable")
        return [Labels(self.name, [event_id[place] for place in order.tolist()], ts_ms[order], label[order])]

    @cached_property
    def _known(self) -> Ints:
        """The second in which the labels of each second's predictions become known, int64[duration]."""
        asked = np.arange(self._world.duration_s, dtype=np.int64)
        draws = Draws.of(self._key, asked, np.zeros(len(asked), np.int64))
        delay = self._spec.delay_median_s * np.exp(self._spec.delay_sigma * draws.normal("delay"))
        known = asked + np.minimum(delay, self._spec.delay_max_s).astype(np.int64)
        for injection, effect in self._delays:
            last = injection.end_s - 1 - (draws.uniform("catch-up") * _CATCH_UP_S).astype(np.int64)
            later = known + (effect.added_s * injection.strength(known)).astype(np.int64)
            known = np.where(injection.strength(known) > 0, np.maximum(np.minimum(later, last), known), known)
        return known
