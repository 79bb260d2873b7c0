"""What rate an installation sustains: raised step by step until lag stays behind, then halved in between."""

from dataclasses import dataclass, field
from typing import Final

FACTOR: Final = 1.5
HALVINGS: Final = 2


@dataclass(slots=True)
class Ramp:
    """The search. Ask :attr:`rate_per_s`, hold it for a step, say how it went with :meth:`judged`, until :attr:`done`.

    Attributes
    ----------
    rate_per_s
        The rate to try now, events a second.
    ceiling_per_s
        Not tried beyond.
    sustained_per_s
        The highest rate that was held so far; 0 while none was.
    """

    rate_per_s: float = 5_000.0
    ceiling_per_s: float = 1_000_000.0
    sustained_per_s: float = 0.0
    done: bool = False
    _failed_per_s: float = field(default=0.0, repr=False)
    _halvings: int = field(default=0, repr=False)

    def judged(self, *, held: bool) -> None:
        """Say whether the rate was held; choose the next."""
        if held:
            self.sustained_per_s = max(self.sustained_per_s, self.rate_per_s)
        else:
            self._failed_per_s = self.rate_per_s
        if not self._failed_per_s:
            self.done = self.rate_per_s >= self.ceiling_per_s
            self.rate_per_s = min(self.rate_per_s * FACTOR, self.ceiling_per_s)
            return
        self._halvings += 1
        self.done = self._halvings > HALVINGS
        self.rate_per_s = (self.sustained_per_s + self._failed_per_s) / 2


def held(rate_per_s: float, lag_before: float, lag_after: float, behind_s: float, *, spare_s: float = 2.0) -> bool:
    """Whether a step was held.

    At its end no more than ``spare_s`` seconds' load waits than did before, and the generator, which shares the machine
    in small installations, kept to its schedule within as much.
    """
    return lag_after - lag_before <= spare_s * rate_per_s and behind_s <= spare_s
