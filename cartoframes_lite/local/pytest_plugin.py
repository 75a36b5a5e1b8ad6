"""pytest fixtures: one embedded server per session, with an empty account for each test.

In the wheel this file is installed as the top-level module ``carto_local_pytest``: pytest imports plugins in every
run, and importing a module of the package would also import pandas. The package is imported only when a fixture is
used.
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
    """Embedded CARTO server shared by all tests. Override this fixture to pass other arguments to `start`."""
    from cartoframes_lite.local import start

    with start() as server:
        yield server


@pytest.fixture
def carto_local(carto_local_server: LocalCarto) -> LocalCarto:
    """Embedded CARTO server with an empty account."""
    carto_local_server.reset()
    return carto_local_server


@pytest.fixture
def carto_credentials(carto_local: LocalCarto) -> Iterator[Credentials]:
    """Credentials of an empty account of the embedded CARTO server, set as the default credentials of the test."""
    from cartoframes_lite.credentials import set_default_credentials

    credentials = carto_local.credentials
    with set_default_credentials(credentials):
        yield credentials
