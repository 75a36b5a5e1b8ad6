"""A proxy on loopback that forwards at most so many bits per second in each direction, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_BLOCK_BYTES = 1 << 15
_BUFFER_BYTES = 1 << 17  # of the socket, so that the sender soon notices the rate
_SEGMENT_BYTES = 1460  # as of Ethernet: senders size their buffers by segments, which have 64 KB on loopback
_BURST_S = 0.002  # by which forwarding may be late without becoming slower


@contextmanager
def limited_rate(base_url: str, mbit_s: float) -> Iterator[str]:
    """Return the base URL of an account behind the proxy."""
    server = urlsplit(base_url)
    command = [sys.executable, "-m", "tests.benchmarks.rate_proxy", str(server.hostname), str(server.port), str(mbit_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}{server.path}"
        finally:
            process.stdin.close()


def main() -> None:
    """Forward until the end of standard input."""
    host, port, mbit_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        print(listening.getsockname()[1], flush=True)
        threading.Thread(target=_accept, args=(listening, (host, port), mbit_s * 1e6 / 8), daemon=True).start()
        sys.stdin.read()


def _accept(listening: socket.socket, address: tuple[str, int], bytes_s: float) -> None:
    while True:
        client = listening.accept()[0]
        server = socket.create_connection(address)
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=_forward, args=(source, target, bytes_s), daemon=True).start()


def _forward(source: socket.socket, target: socket.socket, bytes_s: float) -> None:
    """Forward one direction of a connection until it ends."""
    free_at = time.perf_counter()
    with suppress(OSError):
        while block := source.recv(_BLOCK_BYTES):
            free_at = max(free_at, time.perf_counter() - _BURST_S) + len(block) / bytes_s
            time.sleep(max(0.0, free_at - time.perf_counter()))
            target.sendall(block)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
