"""How the load generator reaches the brokers: an address, and whatever librdkafka settings TLS and log-in take."""

from collections.abc import Sequence

import typer


def client_config(bootstrap: str, given: Sequence[str]) -> dict[str, str]:
    """Settings of librdkafka from what a command was called with.

    Parameters
    ----------
    bootstrap
        Brokers to start from, host:port, comma-separated.
    given
        More settings, ``name=value`` each.

    Raises
    ------
    typer.BadParameter
        If one of them is no setting.
    """
    pairs = [setting.partition("=") for setting in given]
    for name, sign, _ in pairs:
        if not sign or not name:
            raise typer.BadParameter(
                f"{name!r} is no setting: write name=value, as in sasl.mechanism=PLAIN", param_hint="--kafka"
            )
    return {"bootstrap.servers": bootstrap, **{name: value for name, _, value in pairs}}
