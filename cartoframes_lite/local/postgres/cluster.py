"""The PostgreSQL behind the server: a database that somebody else runs, or a private cluster.

A private cluster listens on a Unix socket in a directory that only its own user may enter. It is stopped, and
removed if it is temporary, when the server stops, when Python exits, and also when Python is killed: a
shell at its side waits for the end of a pipe that Python holds open.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cartoframes_lite.local.errors import LocalServerError
from cartoframes_lite.local.postgres.binaries import find_binaries, find_postgis_library
from cartoframes_lite.local.postgres.os_user import find_os_user

DATABASE = "carto"
SUPERUSER = "postgres"
_PORT = "5432"  # only a part of the socket's name
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0
# How long a data directory may still be in use by a server whose Python was killed a moment ago.
_TAKEOVER_S = 3.0

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "300",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Minimal: COPY into a table of the same transaction skips the log. Still safe against crashes.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "jit": "off",
    # Statements of users are nobody's business in a log.
    "log_min_error_statement": "panic",
}
# What is written is in the hands of the operating system, so that a crash of PostgreSQL loses nothing; one of the
# machine would, but a temporary cluster does not outlive it. synchronous_commit=off and full_page_writes=off could lose
# what was acknowledged, and measured no faster.
_NOT_DURABLE = {"fsync": "off"}

# In the environment: the data directory of a stopped cluster, which new ones are copied from in the place of running
# initdb and creating extensions, which takes a second or two. For the tests of this package, which start many servers:
# what the template holds, keys included, all copies have.
TEMPLATE_VARIABLE = "CARTOFRAMES_LITE_CLUSTER_TEMPLATE"

# $1 is the postmaster, $2 how to stop it, $3 its lock file, $4 the directory to remove. The pipe on standard input
# ends with Python. The lock file goes when the postmaster has finished: a process id alone may be that of a zombie.
_WATCH = """
trap '' INT TERM HUP
cat >/dev/null
kill -s "$2" "$1" 2>/dev/null
tries=0
while kill -0 "$1" 2>/dev/null && [ -e "$3" ] && [ "$tries" -lt 200 ]; do
    sleep 0.05
    tries=$((tries + 1))
done
rm -rf -- "$4"
"""


class Cluster(Protocol):
    """A database to work in.

    Attributes
    ----------
    dsn : str
        libpq connection string of a user who may create roles and extensions.
    private : bool
        Whether the cluster is the server's own.
    directory : Path
        For the server's files; goes with the cluster.
    """

    @property
    def dsn(self) -> str:
        """Connection string."""

    @property
    def private(self) -> bool:
        """Whether the cluster is the server's own."""

    @property
    def directory(self) -> Path:
        """Directory for the server's files."""

    def stop(self) -> None:
        """Let go of the database; a private cluster is shut down."""


def open_cluster(dsn: str | None = None, data_dir: Path | None = None) -> Cluster:
    """Connect to a database, or start a private cluster.

    Parameters
    ----------
    dsn : str, optional
        libpq connection string or URL of an existing database.
    data_dir : Path, optional
        Directory of a private cluster that survives a restart; created if missing. None means a temporary
        one, which is removed in the end.

    Raises
    ------
    LocalServerError
        If the database cannot be reached, PostgreSQL or PostGIS is not installed, or the directory is in use.
    """
    if dsn is None:
        return PrivateCluster(data_dir)
    try:
        psycopg.connect(dsn, connect_timeout=10).close()
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise LocalServerError(f"cannot connect to the database of the DSN: {error}") from error
    return ExternalDatabase(dsn)


class ExternalDatabase:
    """A database that somebody else runs."""

    private = False

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._directory: Path | None = None

    @property
    def directory(self) -> Path:
        """Directory for the server's files, made when it is first needed."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="cartoframes_lite-"))
        return self._directory

    def stop(self) -> None:
        """Remove the server's files; the database is not ours to stop."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


class PrivateCluster:
    """A PostgreSQL of our own.

    Parameters
    ----------
    data_dir : Path, optional
        As in `open_cluster`.
    """

    private = True

    def __init__(self, data_dir: Path | None = None) -> None:
        self._process_id = os.getpid()
        self._durable = data_dir is not None
        self._postmaster: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        given = data_dir.expanduser().resolve() if data_dir is not None else None
        version = _cluster_version(given)
        template = _find_template() if version is None else None
        self._bin = find_binaries(version or _cluster_version(template))
        self._user = find_os_user(given)
        self._home = self._user.make_directory()
        self.directory = self._home
        self._data = given or self._home / "data"
        self._log = (given or self._home) / "server.log"
        self.dsn = make_conninfo(host=str(self._home), port=_PORT, user=SUPERUSER, dbname=DATABASE)
        atexit.register(self.stop)
        try:
            if version is None:
                self._init(template)
            self._start()
            self._create_database()
        except BaseException:  # also KeyboardInterrupt: nothing may be left behind
            self.stop()
            raise

    def stop(self) -> None:
        """Shut the cluster down and remove what it made outside of a given data directory."""
        if os.getpid() != self._process_id:
            return  # a fork of the process that started it
        atexit.unregister(self.stop)
        if self._postmaster is not None:
            # An orderly shutdown writes a checkpoint, which files about to be removed do not need.
            self._postmaster.send_signal(signal.SIGINT if self._durable else signal.SIGQUIT)
            try:
                self._postmaster.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._postmaster.send_signal(signal.SIGQUIT)
                self._postmaster.wait()
            self._postmaster = None
        if self._watch is not None:
            self._watch.communicate()  # closes the pipe
            self._watch = None
        shutil.rmtree(self._home, ignore_errors=True)

    def _init(self, template: Path | None) -> None:
        """Create the files of a new cluster, or copy those of a template."""
        if self._durable:
            self._user.own_empty_directory(self._data)
        command: list[str | Path] = [self._bin / "initdb", "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C"]
        command += ["-A", "trust", "-U", SUPERUSER, "-D", self._data]
        if template is not None:  # as the user of the cluster, who may enter both directories
            command = ["cp", "-R", f"{template}/.", self._data]
        process = self._user.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = process.communicate()
        if process.returncode:
            raise LocalServerError(f"{Path(command[0]).name} failed: {output.decode(errors='replace').strip()}")

    def _start(self) -> None:
        """Start the postmaster and wait until it answers."""
        give_up = time.monotonic() + _TAKEOVER_S
        while (reason := self._try_start()) is not None:
            if 'postmaster.pid" already exists' not in reason and "still in use" not in reason:
                raise LocalServerError(f"PostgreSQL did not start in {self._data}: {reason}")
            if time.monotonic() > give_up:
                raise LocalServerError(
                    f"the data directory {self._data} is in use by another PostgreSQL server;"
                    " stop that one, or give another directory"
                )
            time.sleep(0.2)

    def _try_start(self) -> str | None:
        """Start the postmaster; return None when it answers, or what it said if it does not."""
        settings = _SETTINGS | ({} if self._durable else _NOT_DURABLE)
        settings |= {"port": _PORT, "unix_socket_directories": str(self._home)}
        if library := find_postgis_library(self._bin):
            settings["shared_preload_libraries"] = library
        command: list[str | Path] = [self._bin / "postgres", "-D", self._data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            begin = log.tell()
            self._postmaster = self._user.run(command, stdout=log, stderr=log)
        watch: list[str | Path] = ["sh", "-c", _WATCH, "sh", str(self._postmaster.pid)]
        watch += ["INT" if self._durable else "QUIT", self._data / "postmaster.pid", self._home]
        self._watch = self._user.run(watch, stdin=subprocess.PIPE)
        give_up = time.monotonic() + _START_TIMEOUT_S
        while self._postmaster.poll() is None:
            try:
                psycopg.connect(make_conninfo(self.dsn, dbname="postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > give_up:
                    return f"no answer within {_START_TIMEOUT_S:g} s, see {self._log}"
                time.sleep(0.01)
            else:
                return None
        self._postmaster = None
        self._watch.kill()  # first: the socket's directory is still needed
        self._watch.communicate()
        return self._log.read_bytes()[begin:].decode(errors="replace").strip()

    def _create_database(self) -> None:
        """Create the account's database, unless the data directory has it."""
        with psycopg.connect(make_conninfo(self.dsn, dbname="postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def _find_template() -> Path | None:
    """Return the directory that new clusters are copied from, if the environment names one that is there."""
    template = os.environ.get(TEMPLATE_VARIABLE)
    return Path(template) if template and Path(template, "PG_VERSION").exists() else None


def _cluster_version(data_dir: Path | None) -> int | None:
    """Return the major version of the cluster in a directory, or None if there is none."""
    try:
        return int((data_dir / "PG_VERSION").read_text()) if data_dir is not None else None
    except FileNotFoundError:
        return None
