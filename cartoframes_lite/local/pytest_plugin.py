"""Fixtures for pytest: one embedded server for the session, with an empty account for each test.

In the wheel this file is the module ``carto_local_pytest``, beside the package: pytest imports plugins in every run,
and a module of the package would bring pandas and all with it. So nothing is imported here before a test asks for a
fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cartoframes_lite.credentials import Credentials
    from cartoframes_lite.local import LocalCarto


@pytest.fixture(scope="session")
def carto_local_server() -> Iterator[LocalCarto]:
    """One embedded CARTO server for all tests; override it to start it with arguments of your own."""
    from cartoframes_lite.local import start

    with start() as server:
        yield server


@pytest.fixture
def carto_local(carto_local_server: LocalCarto) -> LocalCarto:
    """Give the embedded CARTO server, with an empty account."""
    carto_local_server.reset()
    return carto_local_server


@pytest.fixture
def carto_credentials(carto_local: LocalCarto) -> Iterator[Credentials]:
    """Credentials of an empty account of the embedded CARTO server; the default ones during the test."""
    from cartoframes_lite.credentials import set_default_credentials

    credentials = carto_local.credentials
    with set_default_credentials(credentials):
        yield credentials
