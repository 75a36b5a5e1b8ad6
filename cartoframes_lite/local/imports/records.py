"""What the server remembers of imports, as rows of ``cartodb_local.imports``."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from psycopg import sql

from cartoframes_lite.local.imports.fetch import DownloadRefused, reason, redacted
from cartoframes_lite.local.imports.files import CODES, ImportRefused
from cartoframes_lite.local.imports.requests import ImportRequest
from cartoframes_lite.local.imports.workers import STUCK
from cartoframes_lite.local.state import State

_LISTED = timedelta(days=1)
_HIDDEN = ("http_response_code", "created_at", "updated_at")


class ImportRecords:
    """The records of the account's imports.

    Parameters
    ----------
    state : State
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def create(self, identity: str, order: ImportRequest) -> None:
        """Remember a new import."""
        self._insert(
            id=identity,
            data_type=order.data_type,
            display_name=_display_name(order) or identity,
            original_url=None if order.url is None else redacted(order.url),
            synchronization_id=order.synchronization_id,
            type_guessing=order.options.type_guessing,
            quoted_fields_guessing=order.options.quoted_fields_guessing,
            content_guessing=order.options.content_guessing,
            create_visualization=order.create_vis,
            user_defined_limits=order.user_defined_limits,
            created_at=self._state.clock.now(),
            updated_at=self._state.clock.now(),
        )

    def update(self, identity: str, **values: Any) -> None:
        """Change what is remembered of an import."""
        values["updated_at"] = self._state.clock.now()
        changes = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
        statement = sql.SQL("UPDATE cartodb_local.imports SET {} WHERE id = %s").format(changes)
        with self._state.admin() as connection:
            connection.execute(statement, [*values.values(), identity])

    def fail(self, identity: str, refusal: ImportRefused) -> None:
        """Remember that an import has failed."""
        values: dict[str, Any] = {"error_code": refusal.code, "warnings": refusal.detail or None}
        if isinstance(refusal, DownloadRefused):
            values["http_response_code"] = refusal.status
        self.update(identity, state="failure", success=False, **values)

    def give_up(self) -> None:
        """Mark the imports that an earlier run of the server has not finished."""
        with self._state.admin() as connection:
            connection.execute(
                "UPDATE cartodb_local.imports SET state = 'failure', success = false, error_code = %s, updated_at = %s"
                " WHERE state NOT IN ('complete', 'failure')",
                (STUCK, self._state.clock.now()),
            )

    def recent(self) -> list[str]:
        """Return the ids of the imports of the last day, the newest first."""
        with self._state.admin() as connection:
            rows = connection.execute(
                "SELECT id::text FROM cartodb_local.imports WHERE created_at > %s ORDER BY created_at DESC, id",
                (self._state.clock.now() - _LISTED,),
            ).fetchall()
        return [row["id"] for row in rows]

    def find(self, identity: str) -> dict[str, Any]:
        """Return an import as the API shows it; LookupError if there is none."""
        with self._state.admin() as connection:
            row = connection.execute("SELECT * FROM cartodb_local.imports WHERE id::text = %s", (identity,)).fetchone()
        if row is None:
            raise LookupError(identity)
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
            "http_response_code_message": None if status is None else reason(status),
        }

    def _insert(self, **values: Any) -> None:
        """Insert a row."""
        statement = sql.SQL("INSERT INTO cartodb_local.imports ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(sql.Placeholder() * len(values))
        )
        with self._state.admin() as connection:
            connection.execute(statement, list(values.values()))


def error_text(code: int | None) -> dict[str, str] | None:
    """Describe an error as the API does."""
    if code is None:
        return None
    known = CODES[code]
    return {"title": known.title, "what_about": known.what_about, "source": known.source}


def _display_name(order: ImportRequest) -> str | None:
    """Return what an import is called before its table has a name."""
    if order.document is not None:
        return order.document.name
    if order.url is not None and "://" in order.url:
        with suppress(ValueError):  # the import will say that this is no URL
            return urlsplit(redacted(order.url)).path.rpartition("/")[2] or None
    return order.table_name or order.table
