"""PostgreSQL of the server: an external database, or a private cluster.

A private cluster listens on a Unix socket in a directory that only its own user can enter. It is stopped, and
removed if it is temporary, when the server stops, when Python exits, and when Python is killed: a watchdog shell
waits for the end of a pipe that the Python process holds open.
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
_PORT = "5432"  # part of the socket's file name; no TCP port is opened
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0
# How long to wait for a data directory that is in use: its server may be stopping because its Python was killed.
_IN_USE_TIMEOUT_S = 3.0

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "300",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # COPY into a table created in the same transaction does not write WAL. Still crash-safe.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "jit": "off",
    # Statements may contain personal data and must not appear in the log.
    "log_min_error_statement": "panic",
}
# Settings of a temporary cluster. Without fsync a crash of the machine can lose data, but a temporary cluster does not
# survive that anyway; a crash of PostgreSQL loses nothing. synchronous_commit=off and full_page_writes=off could lose
# acknowledged data and were not measurably faster.
_TEMPORARY_SETTINGS = {"fsync": "off"}

# Environment variable with the data directory of a stopped cluster. New clusters are copied from it, which saves the
# 1 to 2 s of initdb and CREATE EXTENSION. For the tests of this package, which start many servers. Copies share
# everything in the template, including API keys.
TEMPLATE_VARIABLE = "CARTOFRAMES_LITE_CLUSTER_TEMPLATE"

# Arguments: $1 process id of the postmaster, $2 signal that stops it, $3 its lock file, $4 directory to remove.
# Standard input is a pipe that ends with the Python process. The postmaster removes its lock file when it has stopped;
# the process id alone could still exist as a zombie.
_WATCHDOG_SCRIPT = """
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
    """The account's database and its PostgreSQL.

    Attributes
    ----------
    dsn : str
        libpq connection string of a user who can create roles and extensions.
    private : bool
        Whether the cluster was started by this server.
    directory : Path
        Directory for the server's files, removed on stop.
    """

    @property
    def dsn(self) -> str:
        """Connection string in the format of libpq."""

    @property
    def private(self) -> bool:
        """Whether the cluster was started by this server."""

    @property
    def directory(self) -> Path:
        """Directory for the server's files."""

    def stop(self) -> None:
        """Remove the server's files and shut down a private cluster."""


def open_cluster(dsn: str | None = None, data_dir: Path | None = None) -> Cluster:
    """Connect to a database, or start a private cluster.

    Parameters
    ----------
    dsn : str, optional
        libpq connection string or URL of an existing database.
    data_dir : Path, optional
        Data directory of a private cluster, created if missing and kept on stop. None means a temporary directory,
        which is removed on stop.

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
        raise LocalServerError(f"cannot connect to the database: {error}; check the DSN") from error
    return ExternalDatabase(dsn)


class ExternalDatabase:
    """A database of an existing PostgreSQL server."""

    private = False

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._directory: Path | None = None

    @property
    def directory(self) -> Path:
        """Directory for the server's files, created on first access."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="cartoframes_lite-"))
        return self._directory

    def stop(self) -> None:
        """Remove the server's files. The database keeps running."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


class PrivateCluster:
    """A PostgreSQL cluster started by this server.

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
        self._watchdog: subprocess.Popen[bytes] | None = None
        durable_data = data_dir.expanduser().resolve() if data_dir is not None else None
        version = _cluster_version(durable_data)
        template = _find_template() if version is None else None
        self._bin = find_binaries(version or _cluster_version(template))
        self._user = find_os_user(durable_data)
        self._home = self._user.make_directory()
        self.directory = self._home
        self._data = durable_data or self._home / "data"
        self._log = (durable_data or self._home) / "server.log"
        self.dsn = make_conninfo(host=str(self._home), port=_PORT, user=SUPERUSER, dbname=DATABASE)
        atexit.register(self.stop)
        try:
            if version is None:
                self._init(template)
            self._start()
            self._create_database()
        except BaseException:  # including KeyboardInterrupt: no process or directory must be left behind
            self.stop()
            raise

    def stop(self) -> None:
        """Shut the cluster down and remove its temporary files."""
        if os.getpid() != self._process_id:
            return  # atexit in a fork of the process that started the cluster
        atexit.unregister(self.stop)
        if self._postmaster is not None:
            # SIGQUIT skips the checkpoint of an orderly shutdown, which is pointless if the files are removed.
            self._postmaster.send_signal(signal.SIGINT if self._durable else signal.SIGQUIT)
            try:
                self._postmaster.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._postmaster.send_signal(signal.SIGQUIT)
                self._postmaster.wait()
            self._postmaster = None
        if self._watchdog is not None:
            self._watchdog.communicate()  # closes the pipe
            self._watchdog = None
        shutil.rmtree(self._home, ignore_errors=True)

    def _init(self, template: Path | None) -> None:
        """Create the data directory of a new cluster with initdb, or copy it from a template."""
        if self._durable:
            self._user.own_empty_directory(self._data)
        command: list[str | Path] = [self._bin / "initdb", "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C"]
        command += ["-A", "trust", "-U", SUPERUSER, "-D", self._data]
        if template is not None:  # cp and not shutil: it runs as the cluster's user, who can enter both directories
            command = ["cp", "-R", f"{template}/.", self._data]
        process = self._user.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output, _ = process.communicate()
        except BaseException:  # KeyboardInterrupt: it must not go on to write into a directory that is removed
            os.killpg(process.pid, signal.SIGKILL)  # and its children
            process.communicate()
            raise
        if process.returncode:
            raise LocalServerError(f"{Path(command[0]).name} failed: {output.decode(errors='replace').strip()}")

    def _start(self) -> None:
        """Start the postmaster and wait until it accepts connections."""
        deadline = time.monotonic() + _IN_USE_TIMEOUT_S
        while (reason := self._try_start()) is not None:
            if 'postmaster.pid" already exists' not in reason and "still in use" not in reason:
                raise LocalServerError(f"PostgreSQL did not start in {self._data}: {reason}")
            if time.monotonic() > deadline:
                raise LocalServerError(
                    f"the data directory {self._data} is in use by another PostgreSQL server;"
                    " stop that server, or use another data_dir"
                )
            time.sleep(0.2)

    def _try_start(self) -> str | None:
        """Start the postmaster; return None when it accepts connections, else its error output."""
        settings = _SETTINGS | ({} if self._durable else _TEMPORARY_SETTINGS)
        settings |= {"port": _PORT, "unix_socket_directories": str(self._home)}
        if library := find_postgis_library(self._bin):
            settings["shared_preload_libraries"] = library
        command: list[str | Path] = [self._bin / "postgres", "-D", self._data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            begin = log.tell()
            self._postmaster = self._user.run(command, stdout=log, stderr=log)
        watchdog: list[str | Path] = ["sh", "-c", _WATCHDOG_SCRIPT, "sh", str(self._postmaster.pid)]
        watchdog += ["INT" if self._durable else "QUIT", self._data / "postmaster.pid", self._home]
        self._watchdog = self._user.run(watchdog, stdin=subprocess.PIPE)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self._postmaster.poll() is None:
            try:
                psycopg.connect(make_conninfo(self.dsn, dbname="postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    return f"no connection within {_START_TIMEOUT_S:g} s, see {self._log}"
                time.sleep(0.01)
            else:
                return None
        self._postmaster = None
        self._watchdog.kill()  # before its pipe is closed: it would remove the directory of the socket
        self._watchdog.communicate()
        return self._log.read_bytes()[begin:].decode(errors="replace").strip()

    def _create_database(self) -> None:
        """Create the account's database, unless it exists."""
        with psycopg.connect(make_conninfo(self.dsn, dbname="postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def _find_template() -> Path | None:
    """Return the data directory that new clusters are copied from, None if it is not set or does not exist."""
    template = os.environ.get(TEMPLATE_VARIABLE)
    return Path(template) if template and Path(template, "PG_VERSION").exists() else None


def _cluster_version(data_dir: Path | None) -> int | None:
    """Return the major version of the cluster in a data directory, None if it has no cluster."""
    try:
        return int((data_dir / "PG_VERSION").read_text()) if data_dir is not None else None
    except FileNotFoundError:
        return None
