"""Fixtures for all tests: one embedded server for the session, emptied for each test."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

import cartoframes_lite.local
from cartoframes_lite.local import LocalCarto
from tests.cluster_template import announce_template, make_template, remove_template
from tests.counters import COUNTERS
from tests.http_servers import FileServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from cartoframes_lite.credentials import Credentials

# No deadline: on a machine that does other work, too, an example may take long.
settings.register_profile("short", deadline=None, max_examples=20)
settings.register_profile("long", deadline=None, max_examples=200)
MOST_WORKERS = 8  # each has a PostgreSQL of its own
LONGEST = ("load", "faults")
TEMPLATE = pytest.StashKey[Path]()
RUNTIME = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests marked slow")
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="run the files, and the tests of each, in random order"
    )
    parser.addoption("--refresh-notebooks", action="store_true", help="keep what the notebooks say and show now")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite by several workers, and less than that by this process, unless ``-n`` says how many."""
    if is_worker(config):
        return
    option = config.option
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not (option.keyword or option.markexpr)
    by_hand = option.usepdb or option.collectonly or config.getoption("lf", False)
    if is_whole and not by_hand and getattr(option, "numprocesses", 0) is None:
        option.numprocesses, option.dist = "auto", "worksteal"


def pytest_configure(config: pytest.Config) -> None:
    # A shell's job in the background ignores the signal, and so would the processes that the tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.load_profile("long" if config.getoption("--long") else "short")
    if not is_worker(config):
        config.stash[TEMPLATE] = announce_template()
        # Of the lock files of writes: those of other runs slow down each write, and a run does not leave its own.
        config.stash[RUNTIME] = tempfile.mkdtemp(prefix="cfl-tests-")
        os.environ["XDG_RUNTIME_DIR"] = config.stash[RUNTIME]


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process was started by pytest-xdist."""
    return hasattr(config, "workerinput")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seed = config.getoption("--shuffle")
    if seed is not None:
        shuffle(items, random.Random(seed))
    # These take longest: begun first, they run beside the others of pytest-xdist.
    items.sort(key=lambda item: item.path.parent.name not in LONGEST)
    if config.getoption("--long"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="part of the long profile: run with --long"))


def shuffle(items: list[pytest.Item], chance: random.Random) -> None:
    """Shuffle the files, and the tests in each file; fixtures of a module are still created once."""
    tests_of: dict[Path, list[pytest.Item]] = {}
    for item in items:
        tests_of.setdefault(item.path, []).append(item)
    files = list(tests_of.values())
    chance.shuffle(files)
    for tests in files:
        chance.shuffle(tests)
    items[:] = [test for tests in files for test in tests]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Give each core two workers for ``-n auto``: many tests wait for a server or a process."""
    return min(2 * (os.cpu_count() or 1), MOST_WORKERS)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Pass the counts of a worker of pytest-xdist to the process that prints the summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tally"] = asdict(COUNTERS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the counts of a worker; a crashed worker has none."""
    COUNTERS.add(getattr(node, "workeroutput", {}).get("tally", {}))


def pytest_unconfigure(config: pytest.Config) -> None:
    if TEMPLATE in config.stash:
        remove_template(config.stash[TEMPLATE])
        shutil.rmtree(config.stash[RUNTIME], ignore_errors=True)
    if COUNTERS.faults and not is_worker(config):
        writer = config.get_terminal_writer()
        writer.line(
            f"{COUNTERS.survived} of the faults were not noticed by the caller, the others raised errors that were true"
        )
        writer.line(COUNTERS.line())


@pytest.fixture(scope="session")
def carto_server() -> Iterator[LocalCarto]:
    """Start the server that all tests share."""
    make_template()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONWARNINGS", "error")  # in the server as in the tests
        # A test of broken connections does not wait long for the server behind them.
        server = cartoframes_lite.local.start(user="tester", abandoned_upload_s=0.3)
    with server:
        yield server


@pytest.fixture
def carto(carto_server: LocalCarto) -> LocalCarto:
    """Return the shared server, with an empty account."""
    carto_server.reset()
    return carto_server


@pytest.fixture
def credentials(carto: LocalCarto) -> Credentials:
    """Return the credentials of the owner of an empty account."""
    return carto.credentials


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start Chromium for the tests of a module; ``asyncio.run`` is an error meanwhile."""
    from tests.maps import browser  # few tests need Playwright

    with browser.launched() as started:
        yield started


@pytest.fixture
def is_long(pytestconfig: pytest.Config) -> bool:
    """Whether the long profile is selected."""
    return bool(pytestconfig.getoption("--long"))


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    """Start a web server without files."""
    with FileServer() as server:
        yield server
