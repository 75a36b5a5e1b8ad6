"""Errors of statements that run as the role of an API key."""

from __future__ import annotations

from psycopg.pq import DiagnosticField
from psycopg.pq.abc import PGresult

CONNECTION_FAILURE = "08006"  # SQLSTATE
_CONNECTION_LOST = "Connection terminated"


class SQLError(Exception):
    """A statement failed or was canceled.

    Attributes
    ----------
    message, detail, hint : str
        Texts of PostgreSQL's error; ``detail`` and ``hint`` may be empty.
    sqlstate : str
        Error code of five characters, empty if the connection could not be opened.
    """

    def __init__(self, message: str, *, sqlstate: str = "", detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message, self.sqlstate, self.detail, self.hint = message, sqlstate, detail, hint

    @classmethod
    def of(cls, result: PGresult) -> SQLError:
        """Return the error of a failed result."""

        def field(which: DiagnosticField) -> str:
            return (result.error_field(which) or b"").decode("utf-8", "replace")

        if result.error_field(DiagnosticField.SQLSTATE) is None:  # an error of libpq, not of the server
            return cls(_CONNECTION_LOST, sqlstate=CONNECTION_FAILURE)
        return cls(
            field(DiagnosticField.MESSAGE_PRIMARY),
            sqlstate=field(DiagnosticField.SQLSTATE),
            detail=field(DiagnosticField.MESSAGE_DETAIL),
            hint=field(DiagnosticField.MESSAGE_HINT),
        )


class UnexpectedCopyError(Exception):
    """The statement is not a COPY in the expected direction."""
