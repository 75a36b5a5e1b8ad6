from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from cartoframes_lite._client.http.prefetch import _BLOCKS, prefetched
from cartoframes_lite.errors import ConnectionFailed
from tests.http_servers import ScriptedServer, read_head


def no_stop() -> None:
    """Do nothing."""


def test_prefetched_blocks_come_in_order() -> None:
    expected = [bytes([number % 256]) for number in range(3 * _BLOCKS)]
    with prefetched(iter(expected), no_stop) as blocks:
        assert list(blocks) == expected


def test_prefetch_raises_errors_in_the_order_of_blocks() -> None:
    def broken() -> Iterator[bytes]:
        yield b"a"
        raise ConnectionFailed("cut")

    with prefetched(broken(), no_stop) as blocks:
        assert next(blocks) == b"a"
        with pytest.raises(ConnectionFailed, match="cut"):
            next(blocks)


def test_prefetch_is_a_bounded_number_of_blocks_ahead() -> None:
    given = []

    def endless() -> Iterator[bytes]:
        while True:
            given.append(1)
            yield b"x"

    with prefetched(endless(), no_stop) as blocks:
        next(blocks)
        time.sleep(0.05)
        assert len(given) <= _BLOCKS + 3
    assert not [thread for thread in threading.enumerate() if thread.name == "carto-prefetch"]


def test_closing_wakes_the_waiting_prefetch_thread() -> None:
    woken = threading.Event()

    def waits() -> Iterator[bytes]:
        yield b"a"
        woken.wait(600)

    begun = time.monotonic()
    with prefetched(waits(), woken.set) as blocks:
        next(blocks)
    assert time.monotonic() - begun < 300


def test_a_stream_that_stalls_can_be_left(scripted_server: ScriptedServer) -> None:
    """Ctrl-C while the server is silent must not wait for its next block."""
    released = threading.Event()

    def stall(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + b"x" * 300_000)
        released.wait(600)

    transport = scripted_server.play(stall)
    begun = time.monotonic()
    with (
        transport.stream("POST", "x", form={"q": "COPY"}) as arriving,
        prefetched(arriving, arriving.stop) as blocks,
    ):
        assert next(blocks)
    took = time.monotonic() - begun
    released.set()
    assert took < 300


_FORK = """
import os
from cartoframes_lite._client.http.prefetch import prefetched
from cartoframes_lite.errors import ConnectionFailed

with prefetched(iter([b"a", b"b", b"c"]), lambda: None) as received:
    next(received)
    child = os.fork()
    if child == 0:
        try:
            next(received)
        except ConnectionFailed as error:
            os._exit(7 if "fork" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert list(received) == [b"b", b"c"]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_does_not_wait_for_the_thread() -> None:
    subprocess.run([sys.executable, "-c", _FORK], check=True, timeout=60)
