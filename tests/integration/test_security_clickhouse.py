"""The client side of ClickHouse against an endpoint that demands TLS and users.

The endpoint's engine has no users of its own: what is tested is that Halcyon proves who it is, believes no stranger,
and says what was refused. What a user may do is ClickHouse's own business.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.clickhouse_access import LocalTls
from deploy.local.ports import LOOPBACK
from schemas.clickhouse import migrations
from streams.cli.app import run
from streams.cli.stack import _clickhouse_answers
from streams.config import ClickHouseSettings, load_settings
from streams.errors import UnavailableError
from streams.probe import Answer, Verdict, ask_clickhouse
from streams.sinks.clickhouse import ClickHouse
from streams.sinks.errors import ClickHouseRefusedError, Reason
from streams.sinks.migrator import Migrator
from tests.harness.certificates import Authority, Pair

USER = "writer"
PASSWORD = "correct horse: battery/staple"


@dataclass(frozen=True)
class Secured:
    """The endpoint, and what clients need for it."""

    endpoint: LocalClickHouse
    authority: Authority
    stranger: Authority
    client: Pair
    other: Pair

    def settings(self, **changes: object) -> ClickHouseSettings:
        knobs = {
            "url": self.endpoint.url, "user": USER, "password": PASSWORD, "ssl_ca_file": str(self.authority.file),
        }  # fmt: skip
        return load_settings(env={}, overrides={"clickhouse": {**knobs, **changes}}).clickhouse


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    with tempfile.TemporaryDirectory(prefix="halcyon-clickhouse-") as name:
        folder = Path(name)
        authority, stranger = Authority(folder), Authority(folder, "stranger")
        server = authority.issue("server", LOOPBACK)
        tls = LocalTls(server.cert, server.key, authority.file)
        users = {USER: PASSWORD, "default": "something else"}
        with LocalClickHouse(folder / "data", tls=tls, users=users) as endpoint:
            yield Secured(endpoint, authority, stranger, authority.issue(USER), authority.issue("nobody"))


def files(pair: Pair) -> dict[str, object]:
    return {"ssl_cert_file": str(pair.cert), "ssl_key_file": str(pair.key)}


def ways_in(secured: Secured, folder: Path) -> dict[str, dict[str, object]]:
    (folder / "password").write_text(f"{PASSWORD}\n")
    return {
        "password": {},
        "password file": {"password": "", "password_file": str(folder / "password")},
        "certificate": {"password": "", **files(secured.client)},
        "certificate and password": files(secured.client),
    }


@pytest.mark.parametrize("way", ["password", "password file", "certificate", "certificate and password"])
def test_every_way_in(way: str, secured: Secured, tmp_path: Path) -> None:
    settings = secured.settings(**ways_in(secured, tmp_path)[way])
    assert ask_clickhouse(settings) == Answer(Verdict.WELCOME)
    assert _clickhouse_answers(settings)


def test_everything_that_halcyon_does_is_done_so(secured: Secured) -> None:
    settings = secured.settings(database="secured")
    server = ClickHouse(settings, database=None)
    assert Migrator(server, "secured", migrations()).apply()
    server.close()
    client = ClickHouse(settings, "secured")
    client.query("SELECT count() FROM windows")
    assert client.formatted("SELECT 1 AS one", "JSONEachRow") == b'{"one":1}\n'
    client.command("CREATE TABLE t (x UInt8) ENGINE = MergeTree ORDER BY x")
    client.command("INSERT INTO t VALUES (7)")
    assert client.query("SELECT x FROM t WHERE x = {x:UInt8}", {"x": 7}).rows == [(7,)]
    client.close()


def mistakes(secured: Secured) -> dict[str, dict[str, object]]:
    """What can be wrong with who one is."""
    return {
        "password": {"password": f"{PASSWORD}!"},
        "user": {"user": "nobody"},
        "no password": {"password": ""},
        "another's certificate": {"password": "", **files(secured.other)},
        "user of another name": {"user": "default", "password": "", **files(secured.client)},
    }


@pytest.mark.parametrize(
    "mistake", ["password", "user", "no password", "another's certificate", "user of another name"]
)
def test_who_is_not_known_is_refused_and_told(mistake: str, secured: Secured) -> None:
    settings = secured.settings(**mistakes(secured)[mistake])
    with pytest.raises(ClickHouseRefusedError, match="Authentication failed") as caught:
        ClickHouse(settings, database=None).query("SELECT 1")
    assert caught.value.reason is Reason.ACCESS
    assert caught.value.code == 516
    assert "clickhouse.user" in caught.value.todo
    assert "correct horse" not in repr(caught.value) + str(caught.value) + repr(caught.value.__cause__)
    assert ask_clickhouse(settings).verdict is Verdict.REFUSED


def test_a_stranger_is_not_believed(secured: Secured) -> None:
    settings = secured.settings(ssl_ca_file=str(secured.stranger.file))
    with pytest.raises(UnavailableError, match="certificate") as caught:
        ClickHouse(settings, database=None).query("SELECT 1")
    assert "clickhouse.ssl_ca_file" in caught.value.todo
    assert "correct horse" not in repr(caught.value) + repr(caught.value.__cause__)
    assert not _clickhouse_answers(settings)


def test_the_system_s_authorities_do_not_know_it_either(secured: Secured) -> None:
    answer = ask_clickhouse(secured.settings(ssl_ca_file=""))
    assert answer.verdict is Verdict.REFUSED
    assert "certificate" in answer.words


def test_without_tls_nothing_is_said(secured: Secured) -> None:
    plain = secured.settings(url=secured.endpoint.url.replace("https", "http"), ssl_ca_file="")
    answer = ask_clickhouse(plain)
    assert answer.verdict is Verdict.AWAY
    assert "correct horse" not in answer.words


def test_config_check_and_sql(
    secured: Secured, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = secured.settings()
    for name, value in {
        "URL": settings.url, "USER": USER, "PASSWORD": PASSWORD, "SSL_CA_FILE": settings.ssl_ca_file,
        "DATABASE": "default",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"HALCYON_CLICKHOUSE__{name}", value)
    assert run(["sql", "SELECT 1 + 1 AS two", "--format", "json"]) == 0
    assert '{"two":2}' in capsys.readouterr().out
    assert run(["config", "check"]) == 0
    assert "ClickHouse lets this client in" in capsys.readouterr().out
    monkeypatch.setenv("HALCYON_CLICKHOUSE__PASSWORD", f"{PASSWORD}!")
    assert run(["config", "check"]) == 1
    said = capsys.readouterr()
    assert "ClickHouse refuses this client" in said.out
    assert "correct horse" not in said.out + said.err


def test_passwords_stand_in_no_argument(secured: Secured) -> None:
    arguments = Path(f"/proc/{secured.endpoint.pid}/cmdline").read_bytes()
    assert b"--users" in arguments
    assert b"correct horse" not in arguments
    assert (secured.endpoint.data_dir / "users.json").stat().st_mode & 0o077 == 0
