"""Attribute names: OpenTelemetry's and exporters' names, old and new, and the fields they are in messages.

Names of the field are renamed often. A bridge that reads spans or scrapes maps them here, in one place, so that a
renamed attribute does not become a quantity that silently disappears.
"""

from collections.abc import Mapping
from typing import Final

RENAMED: Final[Mapping[str, str]] = {
    "gen_ai.system": "gen_ai.provider.name",
    "gen_ai.usage.prompt_tokens": "gen_ai.usage.input_tokens",
    "gen_ai.usage.completion_tokens": "gen_ai.usage.output_tokens",
    "llm.usage.prompt_tokens": "gen_ai.usage.input_tokens",
    "llm.usage.completion_tokens": "gen_ai.usage.output_tokens",
    "llm.request.model": "gen_ai.request.model",
    "llm.response.model": "gen_ai.response.model",
}
"""Old name → new name, one step; :func:`modern` follows the chain."""

FIELDS: Final[Mapping[str, tuple[str, float]]] = {
    "gen_ai.operation.name": ("gen_ai.operation_name", 1),
    "gen_ai.provider.name": ("gen_ai.provider_name", 1),
    "gen_ai.request.model": ("gen_ai.request_model", 1),
    "gen_ai.response.model": ("gen_ai.response_model", 1),
    "gen_ai.usage.input_tokens": ("gen_ai.input_tokens", 1),
    "gen_ai.usage.output_tokens": ("gen_ai.output_tokens", 1),
    "gen_ai.response.finish_reasons": ("gen_ai.finish_reason", 1),
    "gen_ai.server.time_to_first_token": ("gen_ai.time_to_first_token_ms", 1000),
    "gen_ai.server.time_per_output_token": ("gen_ai.time_per_output_token_ms", 1000),
    "gen_ai.client.operation.time_to_first_chunk": ("gen_ai.time_to_first_token_ms", 1000),
    "error.type": ("gen_ai.error_type", 1),
    "hw.gpu.utilization": ("utilization_ratio", 1),
    "hw.gpu.memory.utilization": ("memory_used_ratio", 1),
    "hw.gpu.memory.usage": ("memory_used_bytes", 1),
    "hw.gpu.memory.limit": ("memory_total_bytes", 1),
    "hw.temperature": ("temperature_c", 1),
    "hw.power": ("power_w", 1),
    "hw.energy": ("energy_j_total", 1),
    "hw.fan.speed_ratio": ("fan_speed_ratio", 1),
    "DCGM_FI_DEV_GPU_UTIL": ("utilization_ratio", 0.01),
    "DCGM_FI_DEV_MEM_COPY_UTIL": ("memory_utilization_ratio", 0.01),
    "DCGM_FI_DEV_FB_USED": ("memory_used_bytes", 1024 * 1024),
    "DCGM_FI_DEV_GPU_TEMP": ("temperature_c", 1),
    "DCGM_FI_DEV_MEMORY_TEMP": ("memory_temperature_c", 1),
    "DCGM_FI_DEV_POWER_USAGE": ("power_w", 1),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("energy_j_total", 0.001),
    "DCGM_FI_DEV_SM_CLOCK": ("sm_clock_hz", 1_000_000),
    "DCGM_FI_DEV_MEM_CLOCK": ("memory_clock_hz", 1_000_000),
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": ("pcie_replays_total", 1),
}
"""Name → (quantity or counter it is here, factor to its unit). Seconds become milliseconds, percent a ratio."""


def modern(name: str) -> str:
    """The newest name of an attribute; a name that was never renamed is its own.

    Examples
    --------
    >>> modern("llm.usage.prompt_tokens"), modern("score")
    ('gen_ai.usage.input_tokens', 'score')
    """
    while name in RENAMED:
        name = RENAMED[name]
    return name


def field_of(name: str) -> tuple[str, float] | None:
    """The field of an attribute under any of its names, and the factor to its unit; ``None`` for an unknown one.

    Examples
    --------
    >>> field_of("gen_ai.usage.prompt_tokens")
    ('gen_ai.input_tokens', 1)
    """
    return FIELDS.get(modern(name))
