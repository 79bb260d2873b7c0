"""The broker's jars: resolved once with Maven into a cache folder that all checkouts share."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

from deploy.local.process import LocalPartError

POM_PATH = Path(__file__).with_name("kafka") / "pom.xml"
JAVA_MIN = 17
_MAVEN_NAMESPACE = {"m": "http://maven.apache.org/POM/4.0.0"}
_MAVEN_TIMEOUT_S = 900.0
_SETUP_HINT = "run deploy/local/setup.sh, or install a JDK 17 (or newer) and Maven with the system's package manager"


@cache
def find_java() -> str:
    """Path of a Java that can run the broker: ``$JAVA_HOME``'s if set, else the one on the PATH.

    Raises
    ------
    LocalPartError
        When there is none, or it is older than 17.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        where = f"in JAVA_HOME={home}" if home else "on the PATH"
        raise LocalPartError(f"Java is missing {where}, and the local Kafka broker needs it: {_SETUP_HINT}")
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=60)
    version = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    if version is None:
        raise LocalPartError(f"{java} does not tell its version:\n{answer.stderr}{answer.stdout}\n{_SETUP_HINT}")
    if int(version[1]) < JAVA_MIN:
        raise LocalPartError(f"{java} is Java {version[1]}; the local Kafka broker needs {JAVA_MIN}: {_SETUP_HINT}")
    return java


def kafka_version(pom_path: Path = POM_PATH) -> str:
    """Version of the broker that the `pom.xml` pins."""
    # Our own file, not input from elsewhere.
    root = ET.parse(pom_path)  # noqa: S314 - this package's own file
    version = root.findtext("m:properties/m:kafka.version", namespaces=_MAVEN_NAMESPACE)
    if not version:
        raise LocalPartError(f"{pom_path} has no property kafka.version: restore the file")
    return version


def cache_root() -> Path:
    """Folder of what Halcyon keeps between runs: ``$XDG_CACHE_HOME/halcyon``, or ``~/.cache/halcyon``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "halcyon"


def resolve_jars(pom_path: Path = POM_PATH, root: Path | None = None) -> Path:
    """Return the folder with the broker's jars, filling it first if no run before has.

    Two processes that ask at once resolve them once; a run that is killed half way leaves no half-filled folder.

    Parameters
    ----------
    pom_path
        What to resolve; the folder's name carries the version and a digest of this file.
    root
        Cache folder; by default :func:`cache_root`.

    Raises
    ------
    LocalPartError
        When Maven is missing or fails, with its last lines.
    """
    base = (root or cache_root()) / "kafka"
    digest = hashlib.sha256(pom_path.read_bytes()).hexdigest()[:8]
    target = base / f"kafka-{kafka_version(pom_path)}-{digest}"
    if target.is_dir():
        return target
    base.mkdir(parents=True, exist_ok=True)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            with tempfile.TemporaryDirectory(prefix="resolving-", dir=base) as scratch:
                jars = Path(scratch) / "jars"
                _run_maven(pom_path, jars)
                jars.rename(target)
    return target


def _run_maven(pom_path: Path, jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise LocalPartError(f"Maven (mvn) is missing; it fetches the local Kafka broker, once: {_SETUP_HINT}")
    command = [maven, "-q", "-B", "-ntp", "-f", str(pom_path), "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_MAVEN_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise LocalPartError(
            f"Maven did not finish fetching the Kafka broker within {_MAVEN_TIMEOUT_S:g} s: check the network"
        ) from error
    if answer.returncode != 0 or not any(jars.glob("kafka_*.jar")):
        lines = "\n".join((answer.stdout + answer.stderr).splitlines()[-15:])
        raise LocalPartError(
            f"Maven could not fetch the Kafka broker of {pom_path}: check the network and Maven's settings.\n{lines}"
        )
