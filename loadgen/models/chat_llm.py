"""A chat model: heavy-tailed token counts, latency that follows from them, cost by token."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.columns import Floats, Ints, Response
from loadgen.models import Requests, choose, filled, statuses

TIERS: Final = {"free": 0.6, "paid": 0.4}
CONTEXT_MAX: Final = 16_384
GENERATED_MAX: Final = 2048
TTFT_BASE_MS: Final = 90.0
TTFT_PER_CONTEXT_TOKEN_MS: Final = 0.12
TPOT_MS: Final = 22.0
USD_PER_CONTEXT_TOKEN: Final = 0.5e-6
USD_PER_GENERATED_TOKEN: Final = 1.5e-6


def answer_times(
    rng: np.random.Generator, context_tokens: Floats, generated_tokens: Floats
) -> tuple[Floats, Floats, Floats]:
    """Time to first token, time per output token and whole latency, float64[n] ms each, from token counts.

    A plain model of a batching server: prefill grows with the context, decoding with the answer; the speed of both
    varies with what else is in the batch.
    """
    n = len(context_tokens)
    load = np.exp(0.2 * rng.standard_normal(n))
    ttft = (TTFT_BASE_MS + TTFT_PER_CONTEXT_TOKEN_MS * context_tokens) * load
    tpot = TPOT_MS * np.exp(0.12 * rng.standard_normal(n)) * load
    return ttft, tpot, ttft + tpot * np.maximum(generated_tokens - 1, 0)


@dataclass(frozen=True, slots=True)
class ChatLlm:
    """A chat assistant on a GPU fleet. The context grows with the turn of the conversation."""

    rate_per_s: float = 24.0
    version: str = "llama-70b-2"
    name: str = "chat-llm"

    def ask(self, rng: np.random.Generator, ts_ms: Ints) -> Requests:
        """Draw prompts: conversation turn, tokens of context that it has grown to, sampling temperature."""
        n = len(ts_ms)
        turn = rng.geometric(0.35, size=n).astype(np.float64)
        context = np.exp(6.0 + 0.35 * np.log(turn) + 0.8 * rng.standard_normal(n))
        return Requests(
            segment={"tier": choose(rng, TIERS, n)},
            features={
                "context_tokens": np.clip(np.floor(context), 1, CONTEXT_MAX),
                "conversation_turn": turn,
                "temperature": np.round(rng.beta(5, 3, size=n), 2),
            },
        )

    def answer(self, rng: np.random.Generator, requests: Requests) -> Response:
        """Generate an answer of heavy-tailed length and the times that follow from it; no score, no decision."""
        context = filled(requests.features["context_tokens"])
        n = len(context)
        generated = np.exp(4.9 + 0.08 * np.log(context) + 0.7 * rng.standard_normal(n))
        generated = np.clip(np.floor(generated), 1, GENERATED_MAX)
        ttft, tpot, latency = answer_times(rng, context, generated)
        return Response(
            latency_ms=latency,
            score=None,
            status=statuses(rng, n, "overloaded", 0.004),
            cost_usd=context * USD_PER_CONTEXT_TOKEN + generated * USD_PER_GENERATED_TOKEN,
            gen_ai={
                "input_tokens": context,
                "output_tokens": generated,
                "time_to_first_token_ms": ttft,
                "time_per_output_token_ms": tpot,
            },
        )
