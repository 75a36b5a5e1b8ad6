from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cartoframes_lite.local.errors import LocalServerError
from cartoframes_lite.local.postgres import binaries, cluster
from cartoframes_lite.local.postgres.cluster import TEMPLATE_VARIABLE, Cluster, PrivateCluster, open_cluster


def home_of(cluster: Cluster) -> Path:
    return Path(str(conninfo_to_dict(cluster.dsn)["host"]))


def value(cluster: Cluster, query: str) -> object:
    with psycopg.connect(cluster.dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(happened: Callable[[], bool], timeout_s: float = 10) -> bool:
    give_up = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


def test_temporary_cluster_listens_on_a_private_socket_only(cluster: Cluster) -> None:
    home = home_of(cluster)
    assert home.stat().st_mode & 0o777 == 0o700
    assert value(cluster, "SHOW listen_addresses") == ""
    assert value(cluster, "SHOW server_encoding") == "UTF8"
    assert value(cluster, "SHOW timezone") == "UTC"
    assert value(cluster, "SHOW fsync") == "off"


def test_postgresql_does_not_run_as_root(cluster: Cluster) -> None:
    pid = int((home_of(cluster) / "data" / "postmaster.pid").read_text().split()[0])
    assert Path(f"/proc/{pid}").stat().st_uid != 0


@pytest.fixture
def no_template(monkeypatch: pytest.MonkeyPatch) -> None:
    """Create clusters with initdb, as outside of tests, instead of copying a template."""
    monkeypatch.delenv(TEMPLATE_VARIABLE)


@pytest.mark.usefixtures("no_template")
def test_stop_leaves_nothing_and_can_be_repeated() -> None:
    cluster = open_cluster()
    home = home_of(cluster)
    pid = int((home / "data" / "postmaster.pid").read_text().split()[0])
    cluster.stop()
    cluster.stop()
    assert not home.exists()
    assert not alive(pid)


@pytest.mark.usefixtures("no_template")
def test_data_directory_survives_a_restart_and_is_durable(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "database"
    first = open_cluster(None, directory)
    with psycopg.connect(first.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert value(first, "SHOW fsync") == "on"
    first.stop()
    assert not home_of(first).exists()
    second = open_cluster(None, directory)
    try:
        assert value(second, "SELECT answer FROM kept") == 42
    finally:
        second.stop()


def test_clusters_are_copied_from_a_template(cluster: Cluster, tmp_path: Path) -> None:
    identifier = "SELECT system_identifier FROM pg_control_system()"  # drawn by initdb
    copied = open_cluster(None, tmp_path / "database")
    try:
        assert value(copied, identifier) == value(cluster, identifier)
        assert (tmp_path / "database").stat().st_mode & 0o777 == 0o700
    finally:
        copied.stop()


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_missing_cluster_templates_are_not_used(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv(TEMPLATE_VARIABLE, str(tmp_path / name))
    assert cluster._find_template() is None


def test_data_directory_in_use_is_refused(tmp_path: Path) -> None:
    first = open_cluster(None, tmp_path / "database")
    try:
        with pytest.raises(LocalServerError, match="in use by another PostgreSQL"):
            open_cluster(None, tmp_path / "database")
        assert value(first, "SELECT 1") == 1
    finally:
        first.stop()


def test_directories_with_other_files_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(LocalServerError, match="neither empty nor a data directory"):
        open_cluster(None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_killed_processes_leave_no_postmaster_or_directory() -> None:
    code = """
        import os, signal
        from cartoframes_lite.local.postgres.cluster import open_cluster
        print(open_cluster().dsn, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    home = Path(str(conninfo_to_dict(done.stdout.strip())["host"]))
    assert wait_until(lambda: not home.exists())


def test_start_after_a_killed_process(tmp_path: Path) -> None:
    code = f"""
        import os, signal
        from pathlib import Path
        from cartoframes_lite.local.postgres.cluster import open_cluster
        open_cluster(None, Path({str(tmp_path / "database")!r}))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)])
    cluster = open_cluster(None, tmp_path / "database")
    try:
        assert value(cluster, "SELECT 1") == 1
    finally:
        cluster.stop()


def test_exit_stops_running_clusters() -> None:
    code = "from cartoframes_lite.local.postgres.cluster import open_cluster; print(open_cluster().dsn)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert not Path(str(conninfo_to_dict(done.stdout.strip())["host"])).exists()


def test_forked_processes_do_not_stop_the_cluster(cluster: Cluster) -> None:
    assert isinstance(cluster, PrivateCluster)
    pid = cluster._process_id
    cluster._process_id = -1  # as a fork sees it
    cluster.stop()
    cluster._process_id = pid
    assert value(cluster, "SELECT 1") == 1


def test_unreachable_dsn_is_an_error_that_says_so() -> None:
    with pytest.raises(LocalServerError, match="cannot connect"):
        open_cluster("host=/nonexistent dbname=x")
    with pytest.raises(LocalServerError, match="cannot connect"):
        open_cluster("not a conninfo")


def test_missing_postgis_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_has_postgis", lambda directory, major: False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    monkeypatch.setattr(binaries.sys, "platform", "linux")
    monkeypatch.setattr(binaries.shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    monkeypatch.setattr(binaries, "_candidates", lambda: iter([Path("/opt/pg/bin")]))
    monkeypatch.setattr(binaries.os, "access", lambda path, mode: True)
    monkeypatch.setattr(binaries, "_major_version", lambda directory: 16)
    with pytest.raises(LocalServerError, match=r"apt-get install postgresql postgresql-16-postgis-3"):
        binaries.find_binaries()


@pytest.mark.parametrize(
    ("platform", "conda", "command"),
    [
        ("darwin", "", "brew install postgis"),
        ("linux", "/opt/conda", "conda install -c conda-forge postgis"),
        ("linux", "", "apt-get install postgresql postgresql-14-postgis-3"),
    ],
)
def test_missing_postgresql_names_the_command(
    monkeypatch: pytest.MonkeyPatch, platform: str, conda: str, command: str
) -> None:
    monkeypatch.setenv("CONDA_PREFIX", conda)
    monkeypatch.setattr(binaries.sys, "platform", platform)
    monkeypatch.setattr(binaries.shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    monkeypatch.setattr(binaries, "_candidates", lambda: iter([]))
    monkeypatch.setattr(binaries, "_codename", lambda: "jammy")
    with pytest.raises(LocalServerError, match=command):
        binaries.find_binaries()
