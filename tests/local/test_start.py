from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import cartoframes_lite.local
from cartoframes_lite.local import LocalCarto, LocalServerError, start


def rows(server: LocalCarto, query: str) -> Any:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else None


def test_context_manager_starts_and_stops_everything() -> None:
    with start(user="vizzuality", api_key="1234") as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        assert server.base_url.endswith("/user/vizzuality")
        credentials = server.credentials
        assert (credentials.username, credentials.api_key) == ("vizzuality", "1234")
        assert credentials.base_url == server.base_url
        assert "1234" not in repr(server) + server._repr_html_()
        assert f'<a href="{server.base_url}"' in server._repr_html_()
        home = Path(str(conninfo_to_dict(server.dsn)["host"]))
    assert not home.exists()
    assert repr(server).endswith("(stopped)>")
    server.stop()


def test_master_key_is_random_unless_given(carto: LocalCarto) -> None:
    key = carto.credentials.api_key
    assert key is not None
    assert len(key) >= 20
    assert key not in carto.base_url


def test_reset_drops_tables_created_over_the_dsn(carto: LocalCarto) -> None:
    rows(carto, "CREATE TABLE t AS SELECT 1 AS i")
    carto.reset()
    assert rows(carto, "SELECT to_regclass('public.t')") == [(None,)]


def test_given_database_is_used_and_left_running(carto: LocalCarto) -> None:
    rows(carto, "DROP DATABASE IF EXISTS theirs WITH (FORCE)")
    rows(carto, "CREATE DATABASE theirs")
    dsn = carto.dsn.replace("dbname=carto", "dbname=theirs")
    with start(dsn=dsn, user="guest") as server:
        assert server.dsn == dsn
        assert rows(server, "SELECT count(*) FROM pg_extension WHERE extname = 'postgis'") == [(1,)]
        assert server.credentials.api_key != carto.credentials.api_key
    assert rows(carto, "SELECT 1") == [(1,)]
    rows(carto, "DROP DATABASE theirs WITH (FORCE)")


def test_data_directory_keeps_tables_and_key(tmp_path: Path) -> None:
    with start(data_dir=tmp_path / "data", api_key="kept") as server:
        rows(server, "CREATE TABLE t AS SELECT 42 AS i")
    with start(data_dir=str(tmp_path / "data")) as server:
        assert server.credentials.api_key == "kept"
        assert rows(server, "SELECT i FROM t") == [(42,)]


def test_failed_start_leaves_no_postgresql(carto: LocalCarto, tmp_path: Path) -> None:
    port = int(carto.base_url.split(":")[2].split("/")[0])
    with pytest.raises(LocalServerError, match="give another port"):
        start(port=port, data_dir=tmp_path / "data")
    assert not (tmp_path / "data" / "postmaster.pid").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dsn": "x", "data_dir": "y"}, "dsn and data_dir are mutually exclusive"),
        ({"user": "a/b"}, "user is part of URLs"),
        ({"user": ""}, "user is part of URLs"),
        ({"api_key": ""}, "api_key"),
        ({"api_key": "default_public"}, "api_key"),
        ({"port": 65536}, "port must be between 0 and 65535, not 65536"),
        ({"rate_limit": (0, 1)}, "rate_limit"),
        ({"statement_timeout_s": 0}, "statement_timeout_s"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        start(**arguments)


@pytest.mark.parametrize("in_process", [False, True])
def test_missing_extra_is_named(in_process: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cartoframes_lite.local.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("app", "embedded", "postgres", "process", "server", "state"):
        monkeypatch.delattr(cartoframes_lite.local, name, raising=False)
    monkeypatch.setitem(sys.modules, "starlette", None)
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    with pytest.raises(ImportError, match=r'pip install "cartoframes_lite\[local\]"'):
        start(in_process=in_process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_cleans_up_after_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "cartoframes_lite.local", "--user", "vizzuality", "--api-key", "1234"]
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            assert url.endswith("/user/vizzuality")
            assert server.stdout.readline() == f"home page of the account, for a browser: {url}\n"
            query = "select%20inet_server_addr()%20is%20null%20as%20socket"
            with urllib.request.urlopen(f"{url}/api/v2/sql?api_key=1234&q={query}", timeout=60) as response:
                assert b'"socket":true' in response.read()
            server.send_signal(number)
            output, errors = server.communicate(timeout=60)
        finally:
            server.kill()  # else leaving the context would wait for it
    assert server.returncode == 0
    assert (output, errors) == ("", "")


def test_command_says_why_it_cannot_start() -> None:
    command = [sys.executable, "-m", "cartoframes_lite.local", "--dsn", "host=/nonexistent"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("cannot start: cannot connect to the database: ")
