"""The memory budget of request bodies is kept, and released however a request ends."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest
import requests

import cartoframes_lite.local
from cartoframes_lite.local import LocalCarto, Plan
from cartoframes_lite.local.http.byte_budget import FREE_BYTES, ByteBudget
from cartoframes_lite.local.http.responses import RequestError

MB = 1 << 20
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def small() -> Iterator[LocalCarto]:
    plan = Plan(body_bytes=3 * MB, body_timeout_s=1.5, idle_timeout_s=0.5)
    with cartoframes_lite.local.start(user="tester", api_key="key", plan=plan) as server:
        yield server


@contextmanager
def begun(server: LocalCarto, path: str, length: int, sent: bytes = b"", kind: str = FORM) -> Iterator[socket.socket]:
    """Send the head of a request, and a part of its body."""
    url = urlsplit(server.base_url)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=20) as connection:
        head = f"POST {url.path}{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}"
        connection.sendall(head.encode() + b"\r\n\r\n" + sent)
        yield connection


def status(connection: socket.socket) -> int:
    return int(connection.recv(65_536).split(b" ", 2)[1])


def large(server: LocalCarto, size: int, kind: str = FORM, q: str = "SELECT 1 AS a") -> int:
    padding = b"x" * size
    body = b'{"q":"%s","x":"%s"}' if kind != FORM else b"q=%s&x=%s"
    headers = {"Content-Type": kind}
    url = f"{server.base_url}/api/v2/sql"
    return requests.post(url, body % (q.encode(), padding), headers=headers, timeout=20).status_code


@pytest.mark.parametrize(
    "path", ["/api/v2/sql", "/api/v2/sql/job", "/api/v2/sql/copyto", "/api/v1/map", "/api/v1/viz", "/api/v1/imports"]
)
@pytest.mark.parametrize("step_s", [None, 0.05], ids=["stops", "trickles"])
def test_a_stalled_body_is_aborted(small: LocalCarto, path: str, step_s: float | None) -> None:
    with begun(small, path, 1000, b"q=") as connection:
        if step_s is not None:
            until = time.monotonic() + 1.2
            while time.monotonic() < until:
                connection.sendall(b"x")
                time.sleep(step_s)
        assert status(connection) == 408
    assert large(small, 2 * MB) == 200


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/octet-stream"])
def test_a_stalled_upload_is_aborted(small: LocalCarto, kind: str) -> None:
    sent = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\na,b\r\n1,2\r\n'
    with begun(small, "/api/v1/imports?api_key=key&filename=a.csv", 5000, sent, kind) as connection:
        assert status(connection) == 408


def test_a_stalled_copy_is_aborted_without_rows(small: LocalCarto) -> None:
    sql = f"{small.base_url}/api/v2/sql"
    requests.post(sql, {"q": "CREATE TABLE stopped (a int)", "api_key": "key"}, timeout=20).raise_for_status()
    with begun(
        small, "/api/v2/sql/copyfrom?api_key=key&q=COPY%20stopped%20FROM%20STDIN", 5000, b"1\n2\n"
    ) as connection:
        for _ in range(10):  # one that goes on is not: its time is that of PostgreSQL
            time.sleep(0.1)
            connection.sendall(b"3\n")
        assert status(connection) == 408
    response = requests.get(sql, {"q": "SELECT count(*) FROM stopped", "api_key": "key"}, timeout=20).json()
    assert response["rows"] == [{"count": 0}]


def test_stalled_bodies_release_the_budget(small: LocalCarto) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(begun(small, "/api/v2/sql", 2 * MB, b"q=" + b"x" * 1_400_000)) for _ in range(2)]
        assert large(small, 1 * MB) == 200  # after a second
        assert sorted({status(connection) for connection in held}) in ([408, 503], [503])
    assert large(small, 2 * MB) == 200


@pytest.mark.parametrize("kind", [FORM, "application/json"])
def test_large_bodies_beyond_the_budget_are_served(small: LocalCarto, kind: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: large(small, 2 * MB, kind), range(8))) == {200}


def test_requests_beyond_the_budget_get_503(small: LocalCarto) -> None:
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(large, small, 2 * MB, FORM, "SELECT pg_sleep(2.5)")
        time.sleep(0.3)
        assert large(small, 2 * MB) == 503
        assert large(small, 10_000) == 200  # small ones always find room
        assert slow.result() == 200
    assert large(small, 2 * MB) == 200


def test_json_of_many_parts_counts_as_what_it_becomes(small: LocalCarto) -> None:
    url, headers = f"{small.base_url}/api/v2/sql", {"Content-Type": "application/json"}
    body = '{"q":"SELECT 1 AS a","x":[' + "{}," * 200_000 + "{}]}"
    assert requests.post(url, body, headers=headers, timeout=20).status_code == 200  # alone, whatever its size
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(large, small, MB, FORM, "SELECT pg_sleep(2.5)")
        time.sleep(0.3)
        assert requests.post(url, body, headers=headers, timeout=20).status_code == 503
        assert slow.result() == 200


def test_the_byte_budget_is_always_released() -> None:
    async def run() -> None:
        budget = ByteBudget(MB, 0.2, 1)
        with budget.holding() as first:
            await first.resize(5 * MB)
            for _ in range(3):
                with budget.holding() as second:
                    await second.resize(FREE_BYTES)
                    with pytest.raises(RequestError, match="try again later") as refused:
                        await second.resize(MB)
                    assert refused.value.status == 503
                    task = asyncio.create_task(second.resize(MB))
                    await asyncio.sleep(0.02)
                    task.cancel()
            await first.resize(MB)
            assert budget.used_bytes == MB - FREE_BYTES
        assert budget.used_bytes == 0
        with budget.holding() as last, pytest.raises(RequestError) as late:
            async with last.arriving():
                await asyncio.sleep(60)
        assert late.value.status == 408

    asyncio.run(run())
