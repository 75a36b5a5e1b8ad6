"""The proxy that tests and benchmarks measure round trips with counts and delays as a network does."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.credentials import Credentials
from tests.certificates import OPENSSL, self_signed, server_context
from tests.delay_proxy import DelayProxy
from tests.http_servers import ANYWHERE, KEY, FileServer

needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="there is no openssl to make a certificate with")


@pytest.mark.parametrize("encrypted", [False, pytest.param(True, marks=needs_openssl)], ids=["plain", "tls"])
def test_requests_and_openings_are_counted_and_delayed(
    file_server: FileServer, tmp_path: Path, encrypted: bool
) -> None:
    file_server.put(ANYWHERE, b'{"rows": []}')
    certificate = self_signed(tmp_path) if encrypted else None
    with DelayProxy(file_server.base_url, 0.1, tls=certificate and server_context(certificate)) as proxy:
        verify = True if certificate is None else str(certificate)
        transport = Transport(Credentials("ann", KEY, base_url=proxy.base_url, verify=verify))
        opening = 1 if certificate is None else 2
        for connections, trips in ((1, opening + 1), (0, 1), (0, 1)):
            began = time.monotonic()
            transport.json("POST", "x", idempotent=True, form={"q": "x" * 1_000_000})
            assert time.monotonic() - began >= 0.1 * trips
            assert (proxy.connections, proxy.round_trips) == (connections, trips)
            assert proxy.requests == [("POST", "/user/ann/x")]
            proxy.reset()


def test_requests_at_the_same_time_share_a_round_trip(file_server: FileServer) -> None:
    file_server.put(ANYWHERE, b'{"rows": []}')
    with DelayProxy(file_server.base_url, 0.3) as proxy, ThreadPoolExecutor(3) as threads:
        transport = Transport(Credentials("ann", KEY, base_url=proxy.base_url))
        for _ in threads.map(lambda name: transport.json("GET", name, idempotent=True), "abc"):
            pass
        assert (proxy.connections, proxy.round_trips, len(proxy.requests)) == (3, 2, 3)
