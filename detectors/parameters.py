"""Bounds of detector parameters, checked where they are made."""

import msgspec


class ParameterError(ValueError):
    """A detector's parameter is out of bounds."""


def check_bounds(params: msgspec.Struct, **bounds: tuple[float, float]) -> None:
    """Raise unless each named parameter lies within its (lowest, highest) bounds, both included.

    Raises
    ------
    ParameterError
        With the parameter, its value and what is allowed.
    """
    for name, (low, high) in bounds.items():
        value = getattr(params, name)
        if not low <= value <= high:
            raise ParameterError(f"{type(params).__name__}.{name} = {value}: give {low} to {high}")
