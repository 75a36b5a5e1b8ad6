"""Records of imports, stored in the table ``cartodb_local.imports``."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from psycopg import sql

from cartoframes_lite.local.imports.fetch import DownloadRefused, reason_phrase, redact_password
from cartoframes_lite.local.imports.files import CODES, ImportRefused
from cartoframes_lite.local.imports.requests import ImportRequest
from cartoframes_lite.local.imports.workers import STUCK
from cartoframes_lite.local.state import State

_LISTED = timedelta(days=1)
_HIDDEN = ("http_response_code", "created_at", "updated_at")


class ImportRecords:
    """Records of the account's imports.

    Parameters
    ----------
    state : State
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def create(self, import_id: str, request: ImportRequest) -> None:
        """Insert a record for a new import."""
        self._insert(
            id=import_id,
            data_type=request.data_type,
            display_name=_display_name(request) or import_id,
            original_url=None if request.url is None else redact_password(request.url),
            synchronization_id=request.synchronization_id,
            type_guessing=request.options.type_guessing,
            quoted_fields_guessing=request.options.quoted_fields_guessing,
            content_guessing=request.options.content_guessing,
            create_visualization=request.create_vis,
            user_defined_limits=request.user_defined_limits,
            created_at=self._state.clock.now(),
            updated_at=self._state.clock.now(),
        )

    def update(self, import_id: str, **values: Any) -> None:
        """Update the record of an import."""
        values["updated_at"] = self._state.clock.now()
        changes = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
        statement = sql.SQL("UPDATE cartodb_local.imports SET {} WHERE id = %s").format(changes)
        with self._state.admin() as connection:
            connection.execute(statement, [*values.values(), import_id])

    def fail(self, import_id: str, error: ImportRefused) -> None:
        """Mark an import as failed."""
        values: dict[str, Any] = {"error_code": error.code, "warnings": error.detail or None}
        if isinstance(error, DownloadRefused):
            values["http_response_code"] = error.status
        self.update(import_id, state="failure", success=False, **values)

    def fail_unfinished(self) -> None:
        """Mark imports that an earlier server process did not finish as failed."""
        with self._state.admin() as connection:
            connection.execute(
                "UPDATE cartodb_local.imports SET state = 'failure', success = false, error_code = %s, updated_at = %s"
                " WHERE state NOT IN ('complete', 'failure')",
                (STUCK, self._state.clock.now()),
            )

    def recent(self) -> list[str]:
        """Return the ids of the imports of the last 24 hours, newest first."""
        with self._state.admin() as connection:
            rows = connection.execute(
                "SELECT id::text FROM cartodb_local.imports WHERE created_at > %s ORDER BY created_at DESC, id",
                (self._state.clock.now() - _LISTED,),
            ).fetchall()
        return [row["id"] for row in rows]

    def find(self, import_id: str) -> dict[str, Any]:
        """Return the API representation of an import; raise LookupError if it does not exist."""
        with self._state.admin() as connection:
            row = connection.execute("SELECT * FROM cartodb_local.imports WHERE id::text = %s", (import_id,)).fetchone()
        if row is None:
            raise LookupError(import_id)
        status = row["http_response_code"]
        shown = {name: value for name, value in row.items() if name not in _HIDDEN}
        return {
            **shown,
            "id": str(row["id"]),
            "synchronization_id": row["synchronization_id"] and str(row["synchronization_id"]),
            "user_id": self._state.user_id,
            "queue_id": str(row["id"]),
            "derived_visualization_id": row["visualization_id"],
            "get_error_text": error_text(row["error_code"]),
            "is_raster": False,
            "any_table_raster": False,
            "http_response_code": None if status is None else str(status),
            "http_response_code_message": None if status is None else reason_phrase(status),
        }

    def _insert(self, **values: Any) -> None:
        """Insert a row."""
        statement = sql.SQL("INSERT INTO cartodb_local.imports ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(sql.Placeholder() * len(values))
        )
        with self._state.admin() as connection:
            connection.execute(statement, list(values.values()))


def error_text(code: int | None) -> dict[str, str] | None:
    """Return the API representation of an error code."""
    if code is None:
        return None
    known = CODES[code]
    return {"title": known.title, "what_about": known.what_about, "source": known.source}


def _display_name(request: ImportRequest) -> str | None:
    """Return the display name of an import before its table exists."""
    if request.input_file is not None:
        return request.input_file.name
    if request.url is not None and "://" in request.url:
        with suppress(ValueError):  # the import itself reports an invalid URL
            return urlsplit(redact_password(request.url)).path.rpartition("/")[2] or None
    return request.table_name or request.table
