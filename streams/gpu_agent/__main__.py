"""``python -m streams.gpu_agent``: the agent without Kafka, samples on standard output. For a look at a machine."""

import argparse
import asyncio
import platform
import sys

from streams.clock import SystemClock
from streams.errors import HalcyonError
from streams.gpu_agent.agent import Agent, interval_s, to_text
from streams.gpu_agent.sources import open_source


def main() -> int:
    """Print samples as JSON, one a line; 0, or the exit code of what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m streams.gpu_agent", description="GPU samples as JSON lines.")
    parser.add_argument("--once", action="store_true", help="one sample of each GPU, then end")
    parser.add_argument("--print", action="store_true", help="accepted for likeness: this form always prints")
    parser.add_argument("--interval", default="1s", help="from sample to sample (1s)")
    parser.add_argument("--simulate", help="a seed, or a file of samples, in place of this host's GPUs")
    parser.add_argument("--gpus", type=int, default=2, help="how many to simulate (2)")
    parser.add_argument("--model", help="the model that the GPUs serve")
    chosen = parser.parse_args()
    try:
        source = open_source(chosen.simulate, platform.node(), chosen.model, chosen.gpus)
        agent = Agent(source, to_text(_write), SystemClock(), interval_s(chosen.interval))
        try:
            asyncio.run(agent.beat() if chosen.once else agent.run(asyncio.Event()))
        finally:
            source.close()
    except HalcyonError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
