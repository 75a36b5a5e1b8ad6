"""Crashes of a PostgreSQL process: committed data is kept, and the server recovers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
import requests

from cartoframes_lite.local import LocalCarto, start
from cartoframes_lite.local.postgres.logins import connect
from tests.local.sql_client import SQLClient

_ROUNDS = 12
_PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def crashing() -> Iterator[LocalCarto]:
    """Start a server with a temporary cluster of its own."""
    with start(user="crashing", api_key="master") as carto:
        yield carto


@pytest.fixture
def client(crashing: LocalCarto) -> SQLClient:
    crashing.reset()
    return SQLClient(crashing.base_url, "master")


def is_away(response: requests.Response) -> bool:
    """Return whether a response reports that the database connection was lost or could not be opened."""
    return response.status_code >= 400 and "connect" in response.text.lower()


def answered(client: SQLClient, query: str) -> requests.Response:
    """Send a query until the response is not that the database is unavailable."""
    give_up = time.monotonic() + _PATIENCE_S
    while is_away(response := client.send(query)):
        assert time.monotonic() < give_up, response.text
    return response


def test_acknowledged_writes_survive_a_crash(crashing: LocalCarto, client: SQLClient) -> None:
    client.run("CREATE TABLE kept (a int)")
    for round_ in range(_ROUNDS):
        victim, witness = connect(crashing.dsn, autocommit=True), connect(crashing.dsn, autocommit=True)
        table = f"made_{round_}"
        assert client.copy_from("COPY kept FROM STDIN", f"{round_}\n").status_code == 200
        client.run(f"CREATE TABLE {table} AS SELECT generate_series(1, 1000) AS a")
        client.run(f"INSERT INTO kept VALUES ({round_})")
        os.kill(victim.info.backend_pid, signal.SIGSEGV if round_ % 2 else signal.SIGKILL)
        with suppress(psycopg.OperationalError):
            while witness.execute("SELECT 1"):  # until PostgreSQL has ended all sessions
                pass
        victim.close()
        witness.close()
        found = answered(client, f"SELECT (SELECT count(*) FROM kept) AS kept, count(*) AS made FROM {table}").json()
        assert found["rows"] == [{"kept": 2 * (round_ + 1), "made": 1000}]


def test_requests_during_a_crash_get_responses(crashing: LocalCarto, client: SQLClient) -> None:
    client.run("CREATE TABLE t AS SELECT 1 AS a; GRANT SELECT ON t TO publicuser")
    client.run("CREATE TABLE d AS SELECT 1 AS a; SELECT CDB_CartodbfyTable('d')")
    responses: Counter[str] = Counter()
    wrong: list[str] = []
    over = threading.Event()

    def ask(key: str | None) -> None:
        asking = client.with_key(key)
        while not over.is_set():
            response = asking.send("SELECT a FROM t")
            responses["away" if is_away(response) else "rows"] += 1
            if not is_away(response) and response.json().get("rows") != [{"a": 1}]:
                wrong.append(response.text)

    threads = [threading.Thread(target=ask, args=(key,)) for key in ("master", None, "master", None)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            with connect(crashing.dsn) as connection:
                os.kill(connection.info.backend_pid, signal.SIGKILL)
            time.sleep(0.5)
    finally:
        over.set()
        for thread in threads:
            thread.join(_PATIENCE_S)
    assert wrong == []
    assert responses["rows"] > responses["away"]
    catalog = requests.get(f"{crashing.base_url}/api/v1/viz", {"api_key": "master", "type": "table"}, timeout=20)
    assert [one["name"] for one in catalog.json()["visualizations"]] == ["d"]
    assert client.job_in(client.start_job("CREATE TABLE after AS SELECT 1 AS a")["job_id"], "done")["status"] == "done"


def test_crash_of_the_own_backend_is_a_500(crashing: LocalCarto, client: SQLClient) -> None:
    responses: list[requests.Response] = []
    query = "SELECT pg_backend_pid(), pg_sleep(20)"
    asking = threading.Thread(target=lambda: responses.append(client.send(query)))
    asking.start()
    running = "SELECT pid FROM pg_stat_activity WHERE query = %s AND state = 'active'"
    with connect(crashing.dsn, autocommit=True) as connection:
        while not (found := connection.execute(running, (query,)).fetchall()):
            time.sleep(0.01)
    victim = found[0]["pid"]
    os.kill(victim, signal.SIGSEGV)
    asking.join(_PATIENCE_S)
    assert [is_away(response) for response in responses] == [True]
    assert answered(client, "SELECT 1 AS a").json()["rows"] == [{"a": 1}]
