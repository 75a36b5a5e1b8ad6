"""Publishing with lost or repeated requests and responses: rows are written exactly once, or not at all."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pandas as pd
import pytest

import cartoframes_lite as cfl
from cartoframes_lite.write import publishing, staging_names, target
from cartoframes_lite.write.staged_sql import Staged

FRAME = pd.DataFrame({"a": range(100)})
PUBLISHING = (b"RENAME+TO+%22t%22", b"INSERT+INTO")
ASKING = (b"AS+state",)
HTML = b"HTTP/1.1 %s\r\nContent-Length: 13\r\nContent-Type: text/html\r\n\r\n<html></html>"

# Fault of a matching request: it is not forwarded, or its response is replaced or truncated.
LOST: bytes | int | None = None
Fate = bytes | int | None


class Proxy:
    """Proxy that forwards requests unchanged, except those that contain one of some marks."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._there = (parts.hostname, parts.port)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}{parts.path}"
        self.fates: list[tuple[tuple[bytes, ...], Fate]] = []
        self.met: list[Fate] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._socket.accept()
                threading.Thread(target=self._pass_on, args=(near,), daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        with near, socket.create_connection(self._there) as far, contextlib.suppress(OSError):
            fate: list[Fate] = []
            back = threading.Thread(target=self._pass_back, args=(far, near, fate), daemon=True)
            back.start()
            while block := near.recv(1 << 20):
                found = next((item for item in self.fates if any(mark in block for mark in item[0])), None)
                if found is not None:
                    self.fates.remove(found)
                    self.met.append(found[1])
                    fate.append(found[1])
                    if found[1] is LOST:
                        break
                far.sendall(block)
            far.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _pass_back(far: socket.socket, near: socket.socket, fate: list[Fate]) -> None:
        with contextlib.suppress(OSError):
            while block := far.recv(1 << 20):
                if not fate:
                    near.sendall(block)
                    continue
                instead = fate.pop()
                near.sendall(instead if isinstance(instead, bytes) else block[: instead or 0])
                break
            near.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def proxy(carto, monkeypatch) -> Iterator[Proxy]:
    monkeypatch.setattr("cartoframes_lite._client.http.retry._FIRST_DELAY_S", 0.01)
    proxy = Proxy(carto.base_url)
    yield proxy
    proxy.close()


@pytest.fixture
def through(proxy, credentials) -> cfl.Credentials:
    return cfl.Credentials(api_key=credentials.api_key, base_url=proxy.base_url)


@pytest.fixture
def written(credentials) -> Callable[[], int]:
    def count() -> int:
        sql = cfl.Client(credentials).sql
        assert [name for name in sql.tables() if name.startswith(staging_names.PREFIX)] == []
        return sql.rows("SELECT count(*)::int4 AS n FROM t")[0]["n"] if sql.has_table(None, "t") else 0

    return count


@pytest.mark.parametrize("if_exists", ["fail", "append", "replace"])
@pytest.mark.parametrize(
    "fate",
    [LOST, 0, 20, 150, HTML % b"504 Gateway Timeout", HTML % b"502 Bad Gateway", HTML % b"200 OK"],
    ids=["not sent", "no answer", "half a status line", "half the headers", "504", "502", "a page"],
)
def test_rows_are_written_once(fate, if_exists, proxy, through, credentials, written):
    if if_exists != "fail":
        cfl.to_carto(FRAME, "t", credentials)
    proxy.fates = [(PUBLISHING, fate)]
    cfl.to_carto(FRAME, "t", through, if_exists=if_exists)
    assert proxy.met == [fate]
    assert written() == (200 if if_exists == "append" else 100)


def test_what_is_never_published_is_an_error_and_leaves_nothing(proxy, through, written):
    proxy.fates = [(PUBLISHING, LOST)] * 10
    with pytest.raises(cfl.ConnectionFailed, match="connection was lost"):
        cfl.to_carto(FRAME, "t", through)
    proxy.fates = []
    assert len(proxy.met) == 3
    assert written() == 0


def test_what_nobody_knows_is_said_with_the_name_to_look_for(proxy, through, credentials):
    cfl.to_carto(FRAME, "t", credentials)
    proxy.fates = [(PUBLISHING, 0), *[(ASKING, LOST)] * 50]
    with pytest.raises(cfl.PublishUnknown, match=rf"a table '{staging_names.PREFIX}\w+', it was not"):
        cfl.to_carto(FRAME, "t", through, if_exists="append")
    assert len(cfl.read_carto("t", credentials)) == 200


def test_a_refusal_is_not_tried_again(proxy, through, credentials, written):
    cfl.Client(credentials).sql.send("CREATE TABLE t (a int CHECK (a < 5))")
    with pytest.raises(cfl.SQLError, match="violates check"):
        cfl.to_carto(FRAME, "t", through, if_exists="append")
    assert written() == 0


@pytest.mark.parametrize("fate", [LOST, 0, HTML % b"504 Gateway Timeout"], ids=["not sent", "no answer", "504"])
def test_an_upload_that_breaks_starts_again(fate, proxy, through, written):
    proxy.fates = [((b"/copyfrom",), fate)]
    cfl.to_carto(FRAME, "t", through)
    assert written() == 100


def test_the_answer_to_another_create_is_no_proof(proxy, through, credentials, written):
    """The response is about a table with another name, which must not count as published."""
    cfl.to_carto(FRAME, "other", credentials)
    (row,) = cfl.Client(credentials).sql.rows("SELECT 'other'::regclass::oid::text AS oid, 'cfl_staging_x' AS name")
    body = json.dumps({"rows": [row], "time": 0.001, "total_rows": 1}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    proxy.fates = [((b"CREATE+TABLE",), head.encode() + body)]
    cfl.to_carto(FRAME, "t", through)
    assert len(proxy.met) == 1
    assert written() == 100


def test_the_question_waits_for_a_publish_that_is_still_at_work(credentials, written):
    client = cfl.Client(credentials)
    cfl.to_carto(FRAME, "t", credentials)
    client.sql.send("CREATE TABLE cfl_staging_x AS SELECT a FROM t")
    (row,) = client.sql.rows("SELECT 'cfl_staging_x'::regclass::oid::int4 AS oid")
    publish = (
        "LOCK TABLE cfl_staging_x IN EXCLUSIVE MODE; INSERT INTO t (a) SELECT a FROM cfl_staging_x;"
        "SELECT pg_sleep(1); ALTER TABLE cfl_staging_x RENAME TO x_published"
    )
    at_work = threading.Thread(target=client.sql.send, args=(publish,))
    at_work.start()
    locked = "SELECT count(*)::int4 AS n FROM pg_locks WHERE relation = to_regclass('cfl_staging_x')"
    while client.sql.rows(locked) == [{"n": 0}]:
        pass
    destination = target.Destination(client, "public", "t")
    assert publishing._query_state(destination, Staged("cfl_staging_x", row["oid"], 100)) == "published"
    at_work.join()
    assert written() == 200


@pytest.mark.parametrize(("if_exists", "rows"), [("append", 400), ("replace", 100)])
def test_a_table_that_several_create_at_once(if_exists, rows, credentials, written):
    arguments = {"if_exists": if_exists, "progress": False}
    writers = [threading.Thread(target=cfl.to_carto, args=(FRAME, "t", credentials), kwargs=arguments) for _ in "1234"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert written() == rows


def test_only_one_creates_a_table_that_must_not_exist(credentials, written):
    ends: list[object] = []

    def write() -> None:
        try:
            ends.append(cfl.to_carto(FRAME, "t", credentials, progress=False))
        except cfl.TableExistsError as error:
            ends.append(type(error))

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(map(str, ends)) == sorted(["t", *[str(cfl.TableExistsError)] * 3])
    assert written() == 100


def test_replaces_with_different_columns_follow_each_other(credentials, written):
    cfl.to_carto(FRAME, "t", credentials)
    frames = [FRAME.rename(columns={"a": f"a{number}"}) for number in range(4)]
    arguments = {"if_exists": "replace", "progress": False}
    writers = [threading.Thread(target=cfl.to_carto, args=(f, "t", credentials), kwargs=arguments) for f in frames]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert written() == 100
    assert len(cfl.read_carto("t", credentials).columns) == 3
