"""Fixtures for all tests: one embedded server for the session, emptied for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from file_server import FileServer
from hypothesis import settings
from tally import TALLY

import cartoframes_lite.local
from cartoframes_lite.local import LocalCarto

if TYPE_CHECKING:
    from cartoframes_lite.credentials import Credentials

# No deadline: on a machine that does other work, too, an example may take long.
settings.register_profile("short", deadline=None, max_examples=20)
settings.register_profile("long", deadline=None, max_examples=200)
MOST_WORKERS = 8  # each has a PostgreSQL of its own


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests marked slow")
    parser.addoption("--refresh-notebooks", action="store_true", help="keep what the notebooks say and show now")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("long" if config.getoption("--long") else "short")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # These take longest, and mostly wait: begun first, they run beside the others of pytest-xdist.
    items.sort(key=lambda item: item.path.parent.name != "load")
    if config.getoption("--long"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="part of the long profile: run with --long"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Give each core two workers for ``-n auto``: many tests wait for a server or a process."""
    return min(2 * (os.cpu_count() or 1), MOST_WORKERS)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a worker of pytest-xdist has counted to the process that reports."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tally"] = asdict(TALLY)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what a worker has counted; one that crashed has handed nothing over."""
    TALLY.add(getattr(node, "workeroutput", {}).get("tally", {}))


def pytest_unconfigure(config: pytest.Config) -> None:
    if TALLY.faults and not hasattr(config, "workerinput"):
        writer = config.get_terminal_writer()
        writer.line(
            f"{TALLY.survived} of the faults were not noticed by the caller, the others raised errors that were true"
        )
        writer.line(TALLY.line())


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
