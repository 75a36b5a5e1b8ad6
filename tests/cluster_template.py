"""A stopped PostgreSQL with PostGIS that the private clusters of all tests are copied from.

``initdb`` and ``CREATE EXTENSION postgis`` take some two seconds of a processor, and the tests start more than a
hundred servers, also in other processes: the environment tells these where the template is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import psycopg

from cartoframes_lite.local.postgres.cluster import TEMPLATE_VARIABLE, open_cluster
from cartoframes_lite.local.postgres.os_user import find_os_user


def announce_template() -> Path:
    """Choose the directory for this process and its children; the template is created on first use."""
    directory = find_os_user(None).make_directory()
    os.environ[TEMPLATE_VARIABLE] = str(directory / "data")
    return directory


def make_template() -> None:
    """Create the template, or wait for the worker of pytest-xdist that creates it."""
    data = Path(os.environ[TEMPLATE_VARIABLE])
    with (data.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if data.exists():
            return
        made = data.with_name("making")
        cluster = open_cluster(None, made)
        try:
            with psycopg.connect(cluster.dsn, autocommit=True) as connection:
                connection.execute("CREATE EXTENSION postgis")
        finally:
            cluster.stop()
        (made / "server.log").unlink()
        made.rename(data)


def remove_template(directory: Path) -> None:
    """Remove the template and its directory."""
    os.environ.pop(TEMPLATE_VARIABLE, None)
    shutil.rmtree(directory, ignore_errors=True)
