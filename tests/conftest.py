"""Fixtures for all tests: one embedded server for the session, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from file_server import FileServer

import cartoframes_lite.local
from cartoframes_lite.local import LocalCarto

if TYPE_CHECKING:
    from cartoframes_lite.credentials import Credentials


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests marked slow")
    parser.addoption("--refresh-notebooks", action="store_true", help="keep what the notebooks say and show now")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="part of the long profile: run with --long"))


@pytest.fixture(scope="session")
def carto_server() -> Iterator[LocalCarto]:
    """Start the server that all tests share."""
    with cartoframes_lite.local.start(user="tester") as server:
        yield server


@pytest.fixture
def carto(carto_server: LocalCarto) -> LocalCarto:
    """Give the shared server, with an empty account."""
    carto_server.reset()
    return carto_server


@pytest.fixture
def credentials(carto: LocalCarto) -> Credentials:
    """Give the credentials of the owner of an empty account."""
    return carto.credentials


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    """Start a web server without files."""
    server = FileServer()
    yield server
    server.close()
