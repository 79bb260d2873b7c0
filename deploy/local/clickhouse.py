"""A local ClickHouse: its own engine behind the HTTP interface that production clients speak.

``python -m deploy.local.clickhouse --data-dir DIR`` serves; :class:`LocalClickHouse` starts that as a child.
"""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import os
import signal
import ssl
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Self

from deploy.local.clickhouse_access import LocalTls, read_users
from deploy.local.ports import LOOPBACK, free_port, port_is_free
from deploy.local.process import ChildProcess, LocalPartError

_PROBE_TIMEOUT_S = 2.0
_START_TIMEOUT_S = 60.0
_ROOT = Path(__file__).resolve().parents[2]


class LocalClickHouse:
    """A ClickHouse endpoint on the loopback interface that keeps its data in a folder.

    Parameters
    ----------
    data_dir
        Folder of the databases and of ``clickhouse.log``; made when missing. Starting again on the same folder
        keeps databases and functions; a kill loses no insert that was acknowledged.
    port
        Port on 127.0.0.1; by default a free one, chosen once.
    tls
        Speak TLS with these files; None for plain HTTP.
    users
        User → password: others are refused; None lets everybody in. The engine has no users of its own: who is let in
        may do everything.
    """

    host = LOOPBACK

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        tls: LocalTls | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.tls, self.users = tls, users
        self.port = free_port() if port is None else port
        self._child = ChildProcess("the local ClickHouse endpoint", self.data_dir / "clickhouse.log")

    @property
    def url(self) -> str:
        """Address of the HTTP interface."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the running endpoint; an error when it does not run."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the endpoint's process runs."""
        return self._child.alive

    def start(self, timeout_s: float = _START_TIMEOUT_S) -> Self:
        """Start the endpoint and wait until it answers; returns itself.

        Raises
        ------
        LocalPartError
            When the port is taken, or the endpoint ends or is not ready in time.
        """
        if self._child.alive:
            raise LocalPartError(f"the local ClickHouse endpoint already runs as process {self.pid}: stop() it first")
        if not port_is_free(self.port):
            raise LocalPartError(f"port {self.port} on {LOOPBACK} is taken: end what listens there, or choose another")
        # -P: a folder called `deploy` where the caller happens to stand must not be taken for this package.
        command = [sys.executable, "-P", "-m", __spec__.name]
        command += ["--data-dir", str(self.data_dir), "--port", str(self.port), *self._access()]
        python_path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        self._child.start(command, env={"PYTHONPATH": python_path})
        self._child.wait_ready(self._answers, timeout_s)
        return self

    def stop(self, timeout_s: float = 15.0) -> None:
        """Let running statements end and shut down (SIGTERM), and kill the endpoint when it takes longer."""
        self._child.stop(timeout_s)

    def kill(self) -> None:
        """End the endpoint at once (SIGKILL)."""
        self._child.kill()

    def restart(self, timeout_s: float = _START_TIMEOUT_S) -> Self:
        """Stop the endpoint if it runs and start it again on the same folder and port."""
        self.stop()
        return self.start(timeout_s)

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines that the endpoint logged."""
        return self._child.log_tail(lines)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _access(self) -> list[str]:
        """The arguments for TLS and users."""
        arguments: list[str] = []
        if self.tls is not None:
            arguments += ["--tls-cert", str(self.tls.cert_file), "--tls-key", str(self.tls.key_file)]
            if self.tls.client_ca_file is not None:
                arguments += ["--tls-client-ca", str(self.tls.client_ca_file)]
        if self.users is not None:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            file = self.data_dir / "users.json"
            file.touch(mode=0o600)
            file.write_text(json.dumps(dict(self.users)), encoding="utf-8")
            arguments += ["--users", str(file)]
        return arguments

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_PROBE_TIMEOUT_S)
        if self.tls is not None:
            # It is asked whether it answers, not who it is: nothing is sent that others must not see.
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=_PROBE_TIMEOUT_S, context=trusting)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()


def serve(data_dir: Path, port: int, tls: LocalTls | None = None, users: Mapping[str, str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; says in one line on stdout where, once it can answer.

    Parameters
    ----------
    data_dir
        Folder of the databases.
    port
        Port on 127.0.0.1; 0 lets the system choose a free one.
    tls, users
        As for :class:`LocalClickHouse`.
    """
    # The engine takes a second to load: the process that only starts a child does not need it.
    from deploy.local.clickhouse_engine import Engine  # noqa: PLC0415
    from deploy.local.clickhouse_http import ClickHouseServer  # noqa: PLC0415

    stopping = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    engine = Engine(data_dir / "data")
    context = tls.context() if tls is not None else None
    with ClickHouseServer((LOOPBACK, port), engine, context, users) as server:
        # After the engine has loaded: it installs handlers of its own.
        signal.signal(signal.SIGTERM, ask_to_stop)
        signal.signal(signal.SIGINT, ask_to_stop)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        print(f"ClickHouse {engine.version} at http{'s' if tls else ''}://{LOOPBACK}:{server.server_port}", flush=True)  # noqa: T201
        stopping.wait()
        server.shutdown()
        if not engine.close():
            logging.getLogger(__name__).warning("some statements still ran when the endpoint ended")


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.clickhouse", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the databases")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0, the default, for a free one")
    parser.add_argument("--tls-cert", type=Path, help="certificate, PEM; makes the endpoint speak TLS")
    parser.add_argument("--tls-key", type=Path, help="the certificate's key, PEM")
    parser.add_argument("--tls-client-ca", type=Path, help="authority of the clients' certificates, PEM")
    parser.add_argument("--users", type=Path, help="JSON object of users and their passwords; others are refused")
    arguments = parser.parse_args()
    tls = LocalTls(arguments.tls_cert, arguments.tls_key, arguments.tls_client_ca) if arguments.tls_cert else None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        serve(arguments.data_dir, arguments.port, tls, read_users(arguments.users) if arguments.users else None)
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is missing: install Halcyon with its extra `local` (halcyon-sre[local])")
    except OSError as error:
        sys.exit(f"cannot serve {arguments.data_dir} at {LOOPBACK}:{arguments.port}: {error}")


if __name__ == "__main__":
    main()
