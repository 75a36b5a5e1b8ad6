"""Fixture of a server that sends scripted responses, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http_servers import ScriptedServer


@pytest.fixture
def scripted_server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()
