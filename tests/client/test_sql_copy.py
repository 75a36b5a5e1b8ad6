from __future__ import annotations

import contextlib
import gc
import io
import random
import signal
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
import pytest

from cartoframes_lite import Client
from cartoframes_lite._client.http.connection import Connection
from cartoframes_lite._client.http.gzip_encoding import AdaptiveGzip
from cartoframes_lite._client.http.prefetch import prefetched
from cartoframes_lite._client.sql_copy import ABORT, Copy
from cartoframes_lite.errors import ConnectionFailed, SQLError
from cartoframes_lite.local import LocalCarto
from tests.http_servers import ScriptedServer, read_chunked, read_head, response

STORED = response("200 OK", b'{"time": 0.1, "total_rows": 1}')
LIMITED = response("429 Too Many", b'{"error":["slow"],"detail":"rate-limit"}', "Retry-After: 1")


def in_path(folder: Path) -> Path:
    path = folder / "rows"
    path.write_bytes(b"a,b\n")
    return path


SOURCES: dict[str, Callable[[Path], Any]] = {
    "path": in_path,
    "path as str": lambda folder: str(in_path(folder)),
    "file": lambda folder: io.BytesIO(b"a,b\n"),
    "list": lambda folder: [b"a,", b"b\n"],
    "factory": lambda folder: lambda: iter([b"a,b\n"]),
}


@pytest.fixture
def remote(carto: LocalCarto) -> Client:
    """Client of a server that seems to be on another host."""
    client = Client(carto.credentials)
    client.copy._transport.is_local = False
    return client


def test_auto_is_stored_whatever_is_compressed(remote: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartoframes_lite._client.http.gzip_encoding._WINDOW_BYTES", 1 << 14)
    monkeypatch.setattr("cartoframes_lite._client.http.gzip_encoding._PIECE_BYTES", 1 << 13)
    changes = 0

    def change_each_time(encoder: AdaptiveGzip, _: float) -> None:
        nonlocal changes
        changes += 1
        encoder._change()

    monkeypatch.setattr(AdaptiveGzip, "_decide", change_each_time)
    remote.sql.send("CREATE TABLE t (a int, b text)")
    rows = "".join(f"{row},{row * 7919 % 104729:x}\n" for row in range(20_000)).encode()
    assert remote.copy.copy_from("COPY t FROM STDIN WITH (FORMAT csv)", [rows]) == 20_000
    assert changes > 10
    with remote.copy.copy_to("COPY (SELECT * FROM t ORDER BY a) TO STDOUT WITH (FORMAT csv)") as stream:
        assert b"".join(stream) == rows


def test_auto_compresses_for_other_hosts_only(scripted_server: ScriptedServer) -> None:
    copy = Copy(scripted_server.play(STORED, STORED))
    copy.copy_from("COPY t FROM STDIN", [b"a,b\n"])
    copy._transport.is_local = False
    copy.copy_from("COPY t FROM STDIN", [b"a,b\n"])
    scripted_server.close()
    assert [b"Content-Encoding: gzip" in head for head in scripted_server.heads] == [False, True]


def test_other_compressions_are_refused(remote: Client) -> None:
    with pytest.raises(ValueError, match='"auto", "gzip" or None, not \'zstd\''):
        remote.copy.copy_from("COPY t FROM STDIN", [b"1\n"], compress="zstd")  # type: ignore[arg-type]  # refused


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="the system has no such limit")
def test_few_bytes_wait_while_auto_compresses(remote: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    limit = Connection._limit_unsent

    def observe(connection: Connection, max_bytes: int) -> None:
        limit(connection, max_bytes)
        seen.append(connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT))

    monkeypatch.setattr(Connection, "_limit_unsent", observe)
    remote.sql.send("CREATE TABLE t (a text)")
    remote.copy.copy_from("COPY t FROM STDIN", [b"a\n" * 1000])
    assert remote.sql.rows("SELECT count(*)::int AS n FROM t") == [{"n": 1000}]
    assert seen[0] == seen[-1] == 0
    assert max(seen) == 1 << 17


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_each_source_can_be_sent_again(
    scripted_server: ScriptedServer, tmp_path: Path, source: Callable[[Path], Any]
) -> None:
    copy = Copy(scripted_server.play(LIMITED, STORED))
    assert copy.copy_from("COPY t FROM STDIN", source(tmp_path)) == 1
    scripted_server.close()
    sent = [head.partition(b"\r\n\r\n")[2] for head in scripted_server.heads]
    assert sent[0] == sent[1]
    assert b"a," in sent[0]
    assert b"/api/v2/sql/copyfrom?q=COPY" in scripted_server.heads[0]


def test_an_iterator_can_be_sent_once(scripted_server: ScriptedServer) -> None:
    with pytest.raises(ConnectionFailed, match="cannot be sent again"):
        Copy(scripted_server.play(LIMITED, STORED)).copy_from("COPY t FROM STDIN", iter([b"a,b\n"]))


def test_a_file_appears_only_when_it_is_whole(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    copy = Copy(scripted_server.play(response("200 OK", b'1\n2\n{"error":["division by zero"]}')))
    with pytest.raises(SQLError, match="division by zero"):
        copy.copy_to_file("COPY t TO STDOUT", target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_has_what_was_sent(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    copy = Copy(scripted_server.play(response("200 OK", b"1\n2\n")))
    assert copy.copy_to_file("COPY t TO STDOUT", tmp_path / "out.csv") == 4
    assert (tmp_path / "out.csv").read_bytes() == b"1\n2\n"


@pytest.mark.parametrize(
    "query",
    [
        "COPY t TO STDOUT",
        "COPY (SELECT 'from stdin' FROM t) TO STDOUT WITH (FORMAT csv)",
        'COPY "from stdin" TO STDOUT',
        "COPY t -- FROM STDIN\n TO STDOUT",
        "COPY t /* FROM STDIN */ TO STDOUT",
        "COPY s.from TO STDOUT",
        "COPY t TO '/tmp/x'",
        "COPY t FROM '/tmp/x'",
        "COPY t FROM PROGRAM 'x'",
        "COPY t FROM STDIN; DROP TABLE t",
        " COPY t FROM STDIN",
        "/**/ COPY t FROM STDIN",
        "SELECT 1",
        "",
    ],
)
def test_only_copy_from_stdin_is_sent_rows(scripted_server: ScriptedServer, query: str) -> None:
    with pytest.raises(ValueError, match=r"COPY|second statement"):
        Copy(scripted_server.play()).copy_from(query, [b"1\n"])


@pytest.mark.parametrize(
    "query",
    [
        "COPY t FROM STDIN",
        "COPY t (a, \"to stdout\") FROM STDIN WITH (NULL 'to stdout')",
        "COPY t FROM STDIN -- TO STDOUT",
        "COPY s.to FROM STDIN",
        "COPY t FROM $$to stdout$$",
        "COPY (SELECT 1) TO PROGRAM 'x'",
        "DROP TABLE t",
    ],
)
def test_only_copy_to_stdout_is_asked_for_rows(scripted_server: ScriptedServer, tmp_path: Path, query: str) -> None:
    copy = Copy(scripted_server.play())
    with pytest.raises(ValueError, match="COPY"):
        copy.copy_to_file(query, tmp_path / "x")
    with pytest.raises(ValueError, match="COPY"):
        copy.copy_to(query)


@pytest.mark.parametrize(
    "query",
    [
        "COPY t FROM STDIN",
        "copy t (a) from stdin with (format csv);",
        'COPY "to stdout" FROM STDIN',
        "COPY t FROM STDIN WHERE a > 1",
        "COPY t /* TO STDOUT */ FROM -- TO\n STDIN BINARY",
        "COPY s.to FROM STDIN",
    ],
)
def test_copy_direction_is_accepted(scripted_server: ScriptedServer, query: str) -> None:
    assert Copy(scripted_server.play(STORED)).copy_from(query, [b"1\n"]) == 1


def test_a_wrong_copy_direction_names_the_right_function(scripted_server: ScriptedServer) -> None:
    copy = Copy(scripted_server.play())
    with pytest.raises(ValueError, match=r"use copy_to$"):
        copy.copy_from("COPY t TO STDOUT", [])
    with pytest.raises(ValueError, match=r"use copy_from$"):
        copy.copy_to("COPY t FROM STDIN")


@pytest.mark.parametrize("total", ['"1"', "true", "null", "[1]", "1.5"])
def test_an_invalid_row_count_is_refused(scripted_server: ScriptedServer, total: str) -> None:
    copy = Copy(scripted_server.play(response("200 OK", f'{{"total_rows": {total}}}'.encode())))
    if total == '"1"':
        assert copy.copy_from("COPY t FROM STDIN", [b"1\n"]) == 1
    else:
        with pytest.raises(ConnectionFailed, match="not one of the CARTO API"):
            copy.copy_from("COPY t FROM STDIN", [b"1\n"])


# What ends a body that breaks off.

REFUSED = response("400 Bad", b'{"error":["row field count is -2, expected 2"]}')


def unchunked(chunks: bytes) -> bytes:
    """Join the chunks of a body."""
    body = b""
    while (size := int(chunks.partition(b"\r\n")[0], 16)) > 0:
        start = chunks.index(b"\r\n") + 2
        body, chunks = body + chunks[start : start + size], chunks[start + size + 2 :]
    assert chunks == b"0\r\n\r\n"
    return body


@pytest.mark.parametrize("response", [REFUSED, STORED, b"", LIMITED], ids=["refused", "stored", "none", "limited"])
@pytest.mark.parametrize("compress", [None, "gzip", "auto"])
@pytest.mark.parametrize("error", [OSError("mine"), ValueError("mine"), KeyboardInterrupt("mine")], ids=repr)
def test_a_failed_body_ends_with_invalid_copy_data(
    scripted_server: ScriptedServer, error: BaseException, compress: Any, response: bytes
) -> None:
    def source() -> Iterator[bytes]:
        yield b"first"
        raise error

    copy = Copy(scripted_server.play(response))
    copy._transport.is_local = False
    with pytest.raises(type(error), match="mine") as caught:
        copy.copy_from("COPY t FROM STDIN BINARY", source, compress=compress)
    assert caught.value is error
    assert bool(getattr(error, "__notes__", None)) == (response is STORED)
    if response is STORED:
        error.__notes__.clear()
    scripted_server.close()
    (head,) = scripted_server.heads  # it is not sent again
    body = unchunked(head.partition(b"\r\n\r\n")[2])
    assert (body if compress is None else zlib.decompress(body, 31)) == b"first" + ABORT
    assert scripted_server.slept == []


@pytest.mark.parametrize(
    "source", [["text"], [None], [b"1\n", 2], 7, lambda: [b"1\n", "2\n"]], ids=["text", "None", "int", "7", "factory"]
)
def test_a_body_with_other_types_is_aborted(scripted_server: ScriptedServer, source: Any) -> None:
    with pytest.raises(TypeError):
        Copy(scripted_server.play(REFUSED)).copy_from("COPY t FROM STDIN", source)


def test_an_interrupt_does_not_wait_for_a_silent_server(scripted_server: ScriptedServer) -> None:
    done = threading.Event()

    def silent(connection: socket.socket) -> None:
        read_chunked(connection, read_head(connection))
        done.wait(600)

    def source() -> Iterator[bytes]:
        yield b"first"
        raise KeyboardInterrupt

    copy, began = Copy(scripted_server.play(silent)), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        copy.copy_from("COPY t FROM STDIN", source)
    assert time.monotonic() - began < 300  # it is some two seconds on an idle machine
    done.set()


def fields(*values: bytes | None) -> bytes:
    """Write a row of a binary COPY."""
    row = struct.pack(">h", len(values))
    return row + b"".join(
        struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value for value in values
    )


BINARY = (
    b"PGCOPY\n\xff\r\n\0"
    + bytes(8)
    + fields(b"\0\0\0\1", b"one")
    + fields(None, None)
    + fields(b"\0\0\0\2", b"")
    + fields(b"\0\0\0\3", b"x" * 300)
    + b"\xff\xff"
)
FORMATS = {
    "binary": ("FORMAT binary", BINARY),
    "text": ("FORMAT text", b"1\tone\n2\t\\N\n3\t\\n\\\\\n"),
    "csv": ("FORMAT csv, HEADER", b'a,b\n1,"o\n""ne"\n2,\n'),
    "latin1": ("FORMAT csv, ENCODING 'latin1'", "1,ñandú\n2,ÿþ\n".encode("latin-1")),
    "sjis": ("FORMAT text, ENCODING 'sjis'", "1\tカルト\n".encode("sjis")),
}


@pytest.mark.parametrize(("options", "body"), FORMATS.values(), ids=FORMATS)
def test_postgresql_refuses_aborted_copies_at_any_byte(carto: LocalCarto, options: str, body: bytes) -> None:
    with psycopg.connect(carto.dsn, autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE t (a int, b text)")
        for cut in range(len(body) + 1):
            with contextlib.suppress(psycopg.DataError), connection.cursor() as cursor:
                with cursor.copy(f"COPY t FROM STDIN ({options})".encode()) as copy:
                    copy.write(body[:cut])
                    copy.write(ABORT)
                pytest.fail(f"taken after {cut} bytes")
        with connection.cursor() as cursor, cursor.copy(f"COPY t FROM STDIN ({options})".encode()) as copy:
            copy.write(body)  # it is complete, and PostgreSQL takes it


# Between the making of a socket and its entry in the connection an interrupt leaves it to the garbage collector.
UNCLOSED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture
def collected() -> Iterator[None]:
    """Run the garbage collector at the end: in a later test, whose warnings are errors, it would find the sockets."""
    yield
    gc.collect()


class Alarm(BaseException):
    """An interrupt, like Ctrl-C."""


@UNCLOSED
@pytest.mark.usefixtures("collected")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers that interrupt")
@pytest.mark.parametrize("compress", [None, "gzip", "auto"])
def test_an_interrupt_at_any_moment_leaves_nothing_open(carto: LocalCarto, compress: Any) -> None:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Alarm

    def rows() -> Iterator[bytes]:
        for _ in range(40):
            yield b"1,one\n" * 10_000

    client, chance = Client(carto.credentials), random.Random(11)
    client.copy._transport.is_local = False
    client.sql.send("CREATE TABLE t (a int, b text)")
    before = signal.signal(signal.SIGALRM, ring)
    interrupted = 0
    try:
        for _ in range(15):
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.001, 0.15))
                client.copy.copy_from("COPY t FROM STDIN (FORMAT csv)", rows, compress=compress)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Alarm:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted
    client.sql.send("ALTER TABLE t ADD COLUMN c int")  # waits for no COPY
    with psycopg.connect(carto.dsn) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY t %' AND state = 'active'"
        )
        assert found.fetchone() == (0,)
    (row,) = client.sql.rows("SELECT count(*) AS n FROM t")
    assert row["n"] % 400_000 == 0


def in_use(database: psycopg.Connection[Any], table: str) -> bool:
    """Whether another session holds a lock on a table."""
    found = database.execute(
        "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND pid <> pg_backend_pid()", [table]
    )
    return found.fetchone() != (0,)


@UNCLOSED
@pytest.mark.usefixtures("collected")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers that interrupt")
def test_an_interrupt_leaves_no_tiny_upload_open(carto: LocalCarto) -> None:
    """All of it is sent at once, so that most interrupts come between its last byte and the response."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Alarm

    client, chance = Client(carto.credentials), random.Random(12)
    client.sql.send("CREATE TABLE t (a int, b text)")
    before = signal.signal(signal.SIGALRM, ring)
    try:
        with psycopg.connect(carto.dsn, autocommit=True) as database:
            for number in range(40):
                compress: Any = (None, "gzip")[number % 2]
                with contextlib.suppress(Alarm):
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, 0.01))
                    client.copy.copy_from("COPY t FROM STDIN (FORMAT csv)", lambda: [b"1,one\n"], compress=compress)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                deadline = time.monotonic() + 2.0
                while in_use(database, "t"):
                    assert time.monotonic() < deadline
                    time.sleep(0.005)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupt_after_the_last_byte_awaits_the_response(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def slow(connection: socket.socket) -> None:
        read_chunked(connection, read_head(connection))
        time.sleep(0.2)
        connection.setblocking(False)
        try:
            seen.append("left" if connection.recv(1, socket.MSG_PEEK) == b"" else "sent more")
        except BlockingIOError:
            seen.append("waits")
        connection.setblocking(True)
        connection.sendall(STORED)

    def interrupted(self: object) -> None:
        raise Alarm

    monkeypatch.setattr(Connection, "getresponse", interrupted)
    with pytest.raises(Alarm):
        Copy(scripted_server.play(slow)).copy_from("COPY t FROM STDIN", [b"1\n"])
    scripted_server.close()
    assert seen == ["waits"]


LOCKING = ("queue.py", "turns.py", "prefetch.py", "connectionpool.py")


def interrupted_at(call: Callable[[], object], moment: int) -> int:
    """Interrupt a call at one of the points where Python checks for signals; count these points.

    Only in what takes locks of its own: threads that are interrupted while they start stay in the list of threads.
    """
    moments = 0

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal moments
        code, caller = frame.f_code, frame.f_back
        is_lock = code.co_name in ("__enter__", "__exit__") and caller is not None
        place = caller.f_code if is_lock and code.co_filename == threading.__file__ else code
        if event in ("call", "return", "c_return") and place.co_filename.endswith(LOCKING):
            moments += 1
            if moments == moment:
                sys.setprofile(None)
                raise Alarm

    sys.setprofile(look)
    try:
        call()
    except Alarm:
        pass
    finally:
        sys.setprofile(None)
    return moments


@UNCLOSED
@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("what", ["upload", "read"])
def test_no_interrupt_blocks_the_next_request(carto: LocalCarto, what: str) -> None:
    client = Client(carto.credentials)
    client.sql.send("CREATE TABLE t (a int, b text)")

    def call() -> object:
        if what == "upload":
            return client.copy.copy_from("COPY t FROM STDIN (FORMAT csv)", lambda: [b"1,one\n"])
        with (
            client.copy.copy_to("COPY t TO STDOUT (FORMAT csv)") as stream,
            prefetched(stream, stream.stop) as blocks,
        ):
            return b"".join(blocks)

    moments = interrupted_at(call, 0)
    assert moments > 10
    for moment in range(1, moments + 1):
        interrupted_at(call, moment)
    done = threading.Thread(target=call, daemon=True)
    done.start()
    done.join(30)
    assert not done.is_alive()
