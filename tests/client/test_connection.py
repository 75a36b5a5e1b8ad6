from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import requests

from cartoframes_lite._client import connection as module
from cartoframes_lite._client.connection import Adapter
from cartoframes_lite.errors import SQLError

from .conftest import Wire, answering, read_head, response

REFUSAL = response("400 Bad Request", b'{"error":["relation does not exist"]}')


def test_an_early_refusal_ends_the_upload(wire: Wire) -> None:
    sent = []

    def refuse(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(REFUSAL)
        time.sleep(0.2)  # the client has to notice by itself

    def body() -> Iterator[bytes]:
        for number in range(1000):
            sent.append(number)
            yield b"x" * 1000
            time.sleep(0.002)

    transport = wire.play(refuse)
    with pytest.raises(SQLError, match="relation does not exist"):
        transport.upload("x", query={"q": "COPY"}, body=body, compress=False)
    assert len(sent) < 1000


def test_the_socket_is_patient_while_a_body_is_sent(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    patience = []
    connect = module._PatientConnection.connect

    def watched(self: module._PatientConnection) -> None:
        connect(self)
        patience.append(self.sock.gettimeout())

    monkeypatch.setattr(module._PatientConnection, "connect", watched)
    wire.play(answering(response("200 OK", b"{}"))).upload("x", query={}, body=lambda: [b"x"], compress=False)
    assert patience == [module._SEND_TIMEOUT_S]


def test_both_schemes_have_our_connections() -> None:
    with requests.Session() as session:
        adapter = Adapter()
        session.mount("https://", adapter)
        pools = adapter.poolmanager
        assert pools.connection_from_url("http://h").ConnectionCls is module._PatientConnection
        assert pools.connection_from_url("https://h").ConnectionCls is module._PatientTLSConnection
