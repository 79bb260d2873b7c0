"""The public trace of LLM inference requests as predictions: its tokens and times are real, the latencies are modelled.

The trace tells when requests came and how many tokens went in and out, not how long they took. Times come from the same
plain model of a batching server as the demo's chat model's (:func:`loadgen.models.answering.answer_times`), seeded.

Run ``python -m loadgen.llm_trace DATA_FOLDER OUT.parquet``.
"""

import sys
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from loadgen.models.answering import answer_times
from loadgen.models.spec import Generation
from loadgen.scenarios import demo
from loadgen.tables import write_parquet

FILE: Final = Path("azure_llm") / "conv.csv.gz"
MAPS: Final = (
    "ts_ms=ts_ms",
    "event_id=event_id",
    "model=const:azure-conv",
    "model_version=const:trace-2023-11",
    "latency_ms=latency_ms",
    "cost_usd=cost_usd",
    "features.context_tokens=context_tokens",
    "gen_ai.input_tokens=context_tokens",
    "gen_ai.output_tokens=generated_tokens",
    "gen_ai.time_to_first_token_ms=ttft_ms",
    "gen_ai.time_per_output_token_ms=tpot_ms",
)
"""The mapping with which `halcyon replay OUT.parquet` plays what :func:`build` wrote."""


def build(data: Path, out: Path, seed: int = 0) -> int:
    """Read the trace below ``data``, add modelled times and costs, write ``out``; returns how many requests.

    Raises
    ------
    FileNotFoundError
        If the trace is not there; says where it was looked for.
    """
    path = data / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the folder that holds {FILE}")
    columns = {"TIMESTAMP": pa.timestamp("ns"), "ContextTokens": pa.float64(), "GeneratedTokens": pa.float64()}
    table = pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(column_types=columns))
    context = table["ContextTokens"].to_numpy()
    generated = table["GeneratedTokens"].to_numpy()
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    chat = _chat_model()
    load, token = rng.standard_normal((2, len(context)))
    ttft, tpot, latency = answer_times(chat, context, generated, load, token)
    return write_parquet(
        out,
        {
            "ts_ms": table["TIMESTAMP"].cast(pa.timestamp("ms"), safe=False).combine_chunks(),
            "event_id": [f"conv-{row}" for row in range(table.num_rows)],
            "context_tokens": context,
            "generated_tokens": generated,
            "ttft_ms": ttft,
            "tpot_ms": tpot,
            "latency_ms": latency,
            "cost_usd": context * chat.usd_per_input_token + generated * chat.usd_per_output_token,
        },
    )


def _chat_model() -> Generation:
    return next(model.generation for model in demo().spec.models if model.generation is not None)


def main(arguments: list[str]) -> int:
    """Run from the command line; returns the exit code."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m loadgen.llm_trace DATA_FOLDER OUT.parquet\n")
        return 2
    out = Path(arguments[1])
    try:
        rows = build(Path(arguments[0]), out)
    except FileNotFoundError as error:
        sys.stderr.write(f"skipped: {error}\n")
        return 0
    maps = " ".join(f"--map {rule}" for rule in MAPS)
    sys.stdout.write(f"{rows:,} requests in {out}; latencies are modelled from tokens. Play them with\n")
    sys.stdout.write(f"halcyon replay {out} --anchor now {maps}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
