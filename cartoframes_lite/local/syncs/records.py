"""Records of synchronizations, stored in the table ``cartodb_local.synchronizations``."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from cartoframes_lite.local.clock import iso_time
from cartoframes_lite.local.imports import connectors, fetch
from cartoframes_lite.local.imports.files import GuessingOptions
from cartoframes_lite.local.imports.requests import ImportRequest
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.state import State

_MAX_RETRIES = 10
_HIDDEN = ("table_oid", "create_vis", "connector", "modified", "interval_s")
_DUE = "(retried_times < %(retries)s OR state = 'queued') AND NOT id::text = ANY(%(running)s)"


class SyncRecords:
    """Records of the account's synchronizations.

    Parameters
    ----------
    state : State
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def create(self, sync_id: str, request: ImportRequest, interval_s: int, log_id: str) -> None:
        """Insert a record for a new synchronization."""
        now = self._state.clock.now()
        connector = request.connector
        values = {
            "id": sync_id,
            "name": request.table_name,
            "state": "queued",
            "interval_s": interval_s,
            "url": request.url,
            "connector": None if connector is None else Jsonb(dict(connector)),
            "service_name": None if connector is None else "connector",
            "service_item_id": None if connector is None else json.dumps(connectors.redact_password(connector)),
            "log_id": log_id,
            "created_at": now,
            "updated_at": now,
            "ran_at": now,
            "run_at": now + timedelta(seconds=interval_s),
            "type_guessing": request.options.type_guessing,
            "quoted_fields_guessing": request.options.quoted_fields_guessing,
            "content_guessing": request.options.content_guessing,
            "create_vis": request.create_vis,
        }
        statement = sql.SQL("INSERT INTO cartodb_local.synchronizations ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(sql.Placeholder() * len(values))
        )
        with self._state.admin() as connection:
            connection.execute(statement, list(values.values()))

    def update(self, sync_id: str, **values: Any) -> None:
        """Update the record of a synchronization; do nothing if it has been deleted."""
        values["updated_at"] = self._state.clock.now()
        changes = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
        statement = sql.SQL("UPDATE cartodb_local.synchronizations SET {} WHERE id::text = %s").format(changes)
        with self._state.admin() as connection:
            connection.execute(statement, [*values.values(), sync_id])

    def delete(self, sync_id: str) -> None:
        """Delete the record of a synchronization."""
        with self._state.admin() as connection:
            connection.execute("DELETE FROM cartodb_local.synchronizations WHERE id::text = %s", (sync_id,))

    def requeue_unfinished(self) -> None:
        """Requeue runs that an earlier server process did not finish."""
        with self._state.admin() as connection:
            connection.execute(
                "UPDATE cartodb_local.synchronizations SET state = 'queued', run_at = least(run_at, %s)"
                " WHERE state IN ('created', 'queued', 'syncing')",
                (self._state.clock.now(),),
            )

    def due(self, running: Collection[str]) -> list[dict[str, Any]]:
        """Return the rows of synchronizations that are due and not running."""
        statement = f"SELECT * FROM cartodb_local.synchronizations WHERE run_at <= %(now)s AND {_DUE} ORDER BY run_at"
        values = {"now": self._state.clock.now(), "retries": _MAX_RETRIES, "running": list(running)}
        with self._up_to_date() as connection:
            return connection.execute(statement, values).fetchall()

    def next_run(self, running: Collection[str]) -> datetime | None:
        """Return the time of the next run, except for running synchronizations; None if there is none."""
        statement = f"SELECT min(run_at) AS next FROM cartodb_local.synchronizations WHERE {_DUE}"
        with self._state.admin() as connection:
            row = connection.execute(statement, {"retries": _MAX_RETRIES, "running": list(running)}).fetchone()
        return None if row is None else row["next"]

    def all(self) -> list[dict[str, Any]]:
        """Return all rows, oldest first."""
        with self._up_to_date() as connection:
            return connection.execute("SELECT * FROM cartodb_local.synchronizations ORDER BY created_at, id").fetchall()

    def find(self, sync_id: str) -> dict[str, Any]:
        """Return the row of a synchronization; raise LookupError if it does not exist."""
        with self._up_to_date() as connection:
            row = connection.execute(
                "SELECT * FROM cartodb_local.synchronizations WHERE id::text = %s", (sync_id,)
            ).fetchone()
        if row is None:
            raise LookupError(sync_id)
        return row

    def running(self) -> int:
        """Return the number of queued and running synchronizations."""
        with self._state.admin() as connection:
            row = connection.execute(
                "SELECT count(*) AS runs FROM cartodb_local.synchronizations WHERE state IN ('queued', 'syncing')"
            ).fetchone()
        return 0 if row is None else int(row["runs"])

    def table_oid(self, table: str) -> int | None:
        """Return the OID of a table in the schema ``public``; None if it does not exist."""
        with self._state.admin() as connection:
            found = connection.execute(
                "SELECT oid::bigint AS oid FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " AND relkind IN ('r', 'p') AND relname = %s",
                (table,),
            ).fetchone()
        return None if found is None else int(found["oid"])

    @contextmanager
    def _up_to_date(self) -> Iterator[Connection]:
        """Yield the administrator's connection after deleting the records of dropped tables."""
        with self._state.admin() as connection:
            connection.execute("SELECT cartodb_local.follow_tables()")
            yield connection


def serialize(row: dict[str, Any], state: State) -> dict[str, Any]:
    """Return the API representation of a synchronization, without passwords."""
    shown = {
        "id": str(row["id"]),
        "name": row["name"],
        "interval": row["interval_s"],
        "url": None if row["url"] is None else fetch.redact_password(row["url"]),
        "user_id": state.user_id,
        "log_id": str(row["log_id"]),
        "etag": row["etag"] and re.sub("""["']""", "", row["etag"]),
    }
    rest = {name: value for name, value in row.items() if name not in _HIDDEN and name not in shown}
    times = {name: iso_time(value) for name, value in rest.items() if isinstance(value, datetime)}
    return {**shown, **rest, **times}


def to_import_request(row: Mapping[str, Any]) -> ImportRequest:
    """Return the import request of a synchronization."""
    options = GuessingOptions(
        type_guessing=row["type_guessing"],
        quoted_fields_guessing=row["quoted_fields_guessing"],
        content_guessing=row["content_guessing"],
    )
    return ImportRequest(
        data_type="url" if row["connector"] is None else "datasource",
        url=row["url"],
        connector=row["connector"],
        table_name=row["name"],
        create_vis=row["create_vis"],
        options=options,
        synchronization_id=str(row["id"]),
    )
