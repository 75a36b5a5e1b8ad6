"""``/api/v1/viz``: the tables of the account as CARTO's dashboard sees them, and who may read them."""

from __future__ import annotations

import re
import uuid
from typing import Any

from psycopg import sql
from starlette.responses import Response
from starlette.routing import Route

from ..logins import Connection
from ..rails import Call, RefusedError, answer, route
from ..roles import PUBLIC_ROLE
from ..state import State

_PRIVACIES = frozenset({"public", "private", "link"})
# Ids are derived from those of the tables: the same at each start, and different in each account.
_NAMESPACE = uuid.UUID("9a3c4f8e-6a0b-5d52-8d3e-3f2c1b7a9e04")

# Row counts are PostgreSQL's estimates, as CARTO's are.
_TABLES = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name,
       pg_total_relation_size(c.oid) AS size, greatest(c.reltuples, 0)::bigint AS row_count,
       has_table_privilege(%(public)s, c.oid, 'SELECT') AS is_public,
       EXISTS (SELECT FROM cartodb_local.links l WHERE l.table_oid = c.oid) AS is_link,
       m.updated_at
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN cartodb.cdb_tablemetadata m ON m.tabname = c.oid
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN ('information_schema', 'cartodb', 'cartodb_local')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
"""


def routes(state: State) -> list[Route]:
    """Return the routes, below the user's path."""

    def show(call: Call) -> Response:
        with state.admin() as connection:
            table = _find(connection, state, call.request.path_params["id"])
        if call.key.kind != "master" and not table["is_public"]:
            raise RefusedError(404)
        return answer(_present(table, state))

    def update(call: Call) -> Response:
        call.require_master()
        with state.admin() as connection:
            table = _find(connection, state, call.request.path_params["id"])
            if call.body.get("id") != table["id"]:
                raise RefusedError(403)
            if "privacy" in call.body:
                _set_privacy(connection, table, str(call.body["privacy"]).lower())
            return answer(_present(_find(connection, state, table["id"]), state))

    return route(state, "/api/v1/viz/{id}", GET=show, PUT=update)


def _find(connection: Connection, state: State, which: str) -> dict[str, Any]:
    """Return the row of a table, by id, name or schema.name."""
    parameters: dict[str, Any] = {"public": PUBLIC_ROLE}
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", which):
        query = _TABLES
    else:
        query = _TABLES + " AND %(name)s::text IN (c.relname::text, n.nspname || '.' || c.relname)"
        parameters["name"] = which
    rows = connection.execute(query + " ORDER BY n.nspname <> 'public'", parameters).fetchall()
    for row in rows:
        row["id"] = str(uuid.uuid5(_NAMESPACE, f"{state.owner_role}/{row['oid']}"))
        if "name" in parameters or row["id"] == which:
            return row
    raise RefusedError(404)


def _set_privacy(connection: Connection, table: dict[str, Any], privacy: str) -> None:
    """Let everybody read a table, or only the account's owner."""
    if privacy not in _PRIVACIES:
        raise RefusedError(400, [f"privacy is one of {', '.join(sorted(_PRIVACIES))}, not {privacy!r}"])
    verb = "REVOKE SELECT ON {} FROM PUBLIC, {}" if privacy == "private" else "GRANT SELECT ON {} TO {}"
    name = sql.Identifier(table["schema"], table["name"])
    with connection.transaction():
        connection.execute(sql.SQL(verb).format(name, sql.Identifier(PUBLIC_ROLE)))
        connection.execute("DELETE FROM cartodb_local.links WHERE table_oid = %s::oid", (table["oid"],))
        if privacy == "link":
            connection.execute("INSERT INTO cartodb_local.links VALUES (%s::oid)", (table["oid"],))


def _present(table: dict[str, Any], state: State) -> dict[str, Any]:
    """Return a table as the API shows it."""
    privacy = ("LINK" if table["is_link"] else "PUBLIC") if table["is_public"] else "PRIVATE"
    updated_at = table["updated_at"].isoformat(timespec="seconds") if table["updated_at"] else None
    return {
        "id": table["id"],
        "name": table["name"],
        "type": "table",
        "kind": "geom",
        "privacy": privacy,
        "locked": False,
        "updated_at": updated_at,
        "permission": {"owner": {"username": state.user}},
        "table": {
            "name": table["name"] if table["schema"] == "public" else f"{table['schema']}.{table['name']}",
            "privacy": privacy,
            "size": table["size"],
            "row_count": table["row_count"],
            "updated_at": updated_at,
        },
    }
