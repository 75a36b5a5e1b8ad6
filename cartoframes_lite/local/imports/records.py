"""Records of imports, stored in the table ``cartodb_local.imports``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from psycopg import sql
from psycopg.types.json import Jsonb

from cartoframes_lite.local.imports.fetch import DownloadError, redact_password
from cartoframes_lite.local.imports.files import CODES, ImportJobError
from cartoframes_lite.local.imports.requests import ImportRequest
from cartoframes_lite.local.imports.status_messages import status_message
from cartoframes_lite.local.imports.workers import STUCK
from cartoframes_lite.local.state import State

_LOG = logging.getLogger(__name__)
_LISTED = timedelta(days=1)
_HIDDEN = ("http_response_code", "success", "runner_warnings", "created_at", "updated_at")
_FINAL = ("complete", "failure", "stuck")


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
            original_url=_original_url(request, import_id),
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
        values = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in values.items()}
        changes = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
        statement = sql.SQL("UPDATE cartodb_local.imports SET {} WHERE id = %s").format(changes)
        with self._state.admin() as connection:
            connection.execute(statement, [*values.values(), import_id])

    def fail(self, import_id: str, error: ImportJobError) -> None:
        """Mark an import as failed."""
        _LOG.info("import %s failed: %s", import_id, error)  # CARTO's responses have the code alone, without detail
        values: dict[str, Any] = {"error_code": error.code}
        if isinstance(error, DownloadError):
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

    def unfinished(self) -> list[str]:
        """Return the ids of the unfinished imports of the last 24 hours, newest first."""
        with self._state.admin() as connection:
            rows = connection.execute(
                "SELECT id::text FROM cartodb_local.imports WHERE created_at > %s AND NOT state = ANY(%s)"
                " ORDER BY created_at DESC, id",
                (self._state.clock.now() - _LISTED, list(_FINAL)),
            ).fetchall()
        return [row["id"] for row in rows]

    def find(self, import_id: str) -> dict[str, Any]:
        """Return the API representation of an import; raise LookupError if it does not exist."""
        with self._state.admin() as connection:
            row = connection.execute("SELECT * FROM cartodb_local.imports WHERE id::text = %s", (import_id,)).fetchone()
        if row is None:
            raise LookupError(import_id)
        return {**_serialize(row), "user_id": self._state.user_id}

    def _insert(self, **values: Any) -> None:
        """Insert a row."""
        statement = sql.SQL("INSERT INTO cartodb_local.imports ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(sql.Placeholder() * len(values))
        )
        with self._state.admin() as connection:
            connection.execute(statement, list(values.values()))


def _serialize(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API representation of an import; some members depend on its state, as in CARTO."""
    shown = {name: value for name, value in row.items() if name not in _HIDDEN}
    shown |= {
        "id": str(row["id"]),
        "queue_id": str(row["id"]),
        "synchronization_id": row["synchronization_id"] and str(row["synchronization_id"]),
        "get_error_text": error_text(row["error_code"]),
        "warnings": row["runner_warnings"],
        "is_raster": False,
    }
    if row["state"] in _FINAL:
        shown["success"] = row["success"]
    if row["state"] == "complete":
        shown |= {"any_table_raster": False, "derived_visualization_id": row["visualization_id"]}
    if row["http_response_code"] is not None:
        shown["http_response_code"] = str(row["http_response_code"])
        shown["http_response_code_message"] = status_message(row["http_response_code"])
    return shown


def error_text(code: int | None) -> dict[str, str] | None:
    """Return the API representation of an error code."""
    if code is None:
        return None
    known = CODES[code]
    return {"title": known.title, "what_about": known.what_about, "source": known.source}


def _display_name(request: ImportRequest) -> str | None:
    """Return the name of the file, or the last segment of the URL; None if there is neither."""
    if request.input_file is not None:
        return request.input_file.name
    if request.url is not None:
        with suppress(ValueError):  # the import itself reports an invalid URL
            return unquote(urlsplit(request.url).path.rstrip("/").rpartition("/")[2]) or None
    return None


def _original_url(request: ImportRequest, import_id: str) -> str:
    """Return the URL, without its password, or the path under which CARTO stores an upload."""
    if request.input_file is not None:
        return f"/uploads/{import_id.replace('-', '')[:20]}/{request.input_file.name}"
    return "" if request.url is None else redact_password(request.url)
