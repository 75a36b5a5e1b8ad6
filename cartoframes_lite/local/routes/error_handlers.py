"""Map errors of the services to HTTP statuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from cartoframes_lite.local.catalog.updates import ForbiddenError, InvalidError
from cartoframes_lite.local.http.platform import PlatformError


@contextmanager
def platform_errors() -> Iterator[None]:
    """Return a context manager that converts errors of datasets and maps to `PlatformError`.

    ``psycopg.OperationalError``, such as a lock timeout, is passed on: it is not caused by the request.
    """
    try:
        yield
    except LookupError:
        raise PlatformError(404) from None
    except ForbiddenError as error:
        raise PlatformError(403, list(error.args)) from error
    except InvalidError as error:
        raise PlatformError(400, list(error.args)) from error
    except psycopg.OperationalError:
        raise
    except psycopg.errors.UniqueViolation as error:  # only names of published pages are unique
        raise PlatformError(400, ["Name has already been taken"]) from error
    except psycopg.Error as error:
        raise PlatformError(400, [error.diag.message_primary or "PostgreSQL error"]) from error


def postgres_message(error: psycopg.Error) -> str:
    """Return the first line of the message that CARTO's application has for an error of PostgreSQL."""
    return f"PG::{type(error).__name__}: ERROR:  {(error.diag.message_primary or str(error)).partition(chr(10))[0]}"
