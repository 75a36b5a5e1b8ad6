"""Database roles: of the account's owner, of requests without a key, of each regular key, of the organization.

No role of a key is a superuser or may become another key's role, so that PostgreSQL itself keeps a request
from reading files of the machine, running programs, or seeing what its key was not granted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise

import psycopg
from psycopg import sql

from cartoframes_lite.local.errors import LocalServerError
from cartoframes_lite.local.postgres.logins import Connection, Login, find_login, set_password

PUBLIC_ROLE = "publicuser"
_TELLTALE = (
    "st_estimatedextent",
    "_postgis_stats",
    "_postgis_selectivity",
    "_postgis_join_selectivity",
    "_postgis_index_extent",
)
# What changes something, or stops others, although a transaction is READ ONLY.
_ADVISORY_LOCKS = "^pg_(try_)?advisory_"
_FOR_KEYS = (
    "pg_cancel_backend(integer)",
    "pg_terminate_backend(integer,bigint)",
    "pg_logical_emit_message(boolean,text,bytea)",
    "pg_logical_emit_message(boolean,text,text)",
    "pg_notify(text,text)",
    "cartodb.cdb_tablemetadata_trigger()",
)
_SAFE_PATH = "SET LOCAL search_path = pg_catalog, pg_temp"
# Any number, the same for all servers: two of them that prepare one database take turns.
_PREPARE_LOCK = 0x0CA270DB


@dataclass(frozen=True, slots=True)
class AccountRoles:
    """What the database remembers of its account, and how its roles log in."""

    owner_role: str
    login: Login


def prepare(connection: Connection, dsn: str, user: str, *, private: bool) -> AccountRoles:
    """Create what the account needs in its database and does not have yet.

    Parameters
    ----------
    connection : psycopg.Connection
        Superuser, or a user that may create roles and extensions; in autocommit mode.
    dsn : str
        Connection string that it was opened with.
    user : str
        Name of the account, part of the name of a new owner role.
    private : bool
        Whether the cluster is the server's own, where every role may log in.

    Returns
    -------
    AccountRoles

    Raises
    ------
    LocalServerError
        If the connection's user lacks rights or the database server lacks PostGIS.
    """
    try:
        with connection.transaction():
            connection.execute("SET LOCAL client_min_messages = error")
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_PREPARE_LOCK,))
            path = _search_path(connection)
            for script in ("postgres/state.sql", "catalog/tables.sql", "imports/tables.sql", "maps/tables.sql"):
                _run_script(connection, script)
            owner_role = _owner_role(connection, user)
            _create_role(connection, PUBLIC_ROLE)
            _create_role(connection, owner_role)
            connection.execute(sql.SQL("SET LOCAL search_path = {}").format(path))
            _run_script(connection, "postgres/cartodb.sql")
            _run_script(connection, "postgres/cartodbfy.sql")
            connection.execute(_SAFE_PATH)
            grant_built_in(connection, owner_role)
            _forget_settings(connection, [PUBLIC_ROLE])
    except psycopg.errors.InsufficientPrivilege as error:
        raise LocalServerError(
            f"the user of the DSN may not prepare the database: {error.diag.message_primary};"
            " give the DSN of a superuser"
        ) from error
    except psycopg.errors.FeatureNotSupported as error:
        raise LocalServerError(
            f"the server of the DSN has no PostGIS: {error.diag.message_primary}; install it there"
        ) from error
    return AccountRoles(owner_role, Login(dsn) if private else find_login(connection, dsn, (owner_role, PUBLIC_ROLE)))


def grant_built_in(connection: Connection, owner_role: str) -> None:
    """Give the owner and the public role their rights on the database and its schemas."""
    owner, public = sql.Identifier(owner_role), sql.Identifier(PUBLIC_ROLE)
    database, postgis = sql.Identifier(connection.info.dbname), sql.Identifier(_postgis_schema(connection))
    for statement in (
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO {owner}",
        "GRANT CONNECT ON DATABASE {database} TO {public}",
        "REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC, {public}",
        "GRANT USAGE, CREATE ON SCHEMA public TO {owner} WITH GRANT OPTION",
        "GRANT USAGE ON SCHEMA public, cartodb, {postgis} TO {public}",
        "GRANT USAGE ON SCHEMA cartodb, {postgis} TO {owner}",
        "GRANT EXECUTE ON FUNCTION cartodb.cdb_setuserquotainbytes(bigint) TO {owner}",
        "GRANT EXECUTE ON FUNCTION cartodb.cdb_tablemetadatatouch(regclass) TO {owner}",
        # Large objects are no table, so that no grant of a key could speak of them.
        "REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) TO {owner}",
        # A table made over the DSN by its user is the account's as well.
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {owner} WITH GRANT OPTION",
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO {owner} WITH GRANT OPTION",
    ):
        connection.execute(sql.SQL(statement).format(owner=owner, public=public, database=database, postgis=postgis))
    _close_statistics(connection, owner_role)
    keys = connection.execute("SELECT role FROM cartodb_local.api_keys WHERE kind = 'regular'").fetchall()
    for role in (owner_role, *(str(row["role"]) for row in keys)):
        _grant_to_named_keys(connection, role)


def _grant_to_named_keys(connection: Connection, role: str) -> None:
    """Give the role of a key what requests without a key do not have: temporary tables, locks, signs of changes."""
    found = connection.execute(
        "SELECT p.oid::regprocedure::text AS function FROM pg_proc p WHERE p.oid::regprocedure::text = ANY(%(named)s)"
        " OR pronamespace = 'pg_catalog'::regnamespace AND proname ~ %(locks)s",
        {"named": list(_FOR_KEYS), "locks": _ADVISORY_LOCKS},
    ).fetchall()
    grantee, database = sql.Identifier(role), sql.Identifier(connection.info.dbname)
    functions = sql.SQL(", ").join(sql.SQL(row["function"]) for row in found)
    connection.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}").format(database, grantee))
    connection.execute(sql.SQL("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC").format(functions))
    connection.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(functions, grantee))


def _close_statistics(connection: Connection, owner_role: str) -> None:
    """Leave to the owner what PostGIS tells everybody of the geometries of all tables: extents and histograms."""
    found = connection.execute(
        "SELECT n.nspname, proname, pg_get_function_identity_arguments(p.oid) AS arguments"
        " FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace"
        " JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'"
        " JOIN pg_extension e ON e.oid = d.refobjid WHERE extname = 'postgis' AND proname = ANY(%s)",
        (list(_TELLTALE),),
    ).fetchall()
    owner = sql.Identifier(owner_role)
    for row in found:
        function = sql.SQL("{}({})").format(sql.Identifier(row["nspname"], row["proname"]), sql.SQL(row["arguments"]))
        connection.execute(sql.SQL("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC").format(function))
        connection.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(function, owner))


def create_key_role(connection: Connection, owner_role: str, role: str, login: Login) -> None:
    """Create the role of a regular key.

    It may read what everybody may, and the owner is a member of it, so that tables made with the key are the
    owner's as well.
    """
    _create_role(connection, role)
    set_password(connection, role, login)
    identifier = sql.Identifier(role)
    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(PUBLIC_ROLE), identifier))
    connection.execute(sql.SQL("GRANT {} TO {}").format(identifier, sql.Identifier(owner_role)))
    _grant_to_named_keys(connection, role)


def member_role(owner_role: str, suffix: str) -> str:
    """Return the name of the role of a member of the account's organization."""
    return f"{owner_role}_member_{suffix}"


def organization_role(owner_role: str) -> str:
    """Return the name of the role that all members are in."""
    return f"{owner_role}_organization"


def create_member_role(connection: Connection, owner_role: str, role: str) -> None:
    """Create the role of a member, which may do what all members may. Nobody can log in as it."""
    everybody = organization_role(owner_role)
    for name in (everybody, role):
        _create_role(connection, name)
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(name)))
    identifiers = [sql.Identifier(name) for name in (PUBLIC_ROLE, everybody, role)]
    for granted, grantee in pairwise(identifiers):
        connection.execute(sql.SQL("GRANT {} TO {}").format(granted, grantee))


def created_roles(connection: Connection, owner_role: str) -> list[str]:
    """Return the roles of regular keys, of members and of the organization."""
    rows = connection.execute(
        "SELECT role FROM cartodb_local.api_keys WHERE kind = 'regular'"
        " UNION SELECT role FROM cartodb_local.members"
        " UNION SELECT rolname FROM pg_roles WHERE rolname = %s",
        (organization_role(owner_role),),
    ).fetchall()
    return [str(row["role"]) for row in rows]


def drop_key_role(connection: Connection, owner_role: str, role: str) -> None:
    """Drop the role of a regular key or a member; what it owns becomes the owner's."""
    _end_sessions(connection, [role], idle=True)
    identifier = sql.Identifier(role)
    connection.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(identifier, sql.Identifier(owner_role)))
    connection.execute(sql.SQL("DROP OWNED BY {}").format(identifier))
    # That leaves what the owner granted on things that are not his own: the schema public, tables of the DSN's user.
    granted = connection.execute(
        "SELECT CASE classid WHEN 'pg_namespace'::regclass THEN 'SCHEMA ' || objid::regnamespace"
        " ELSE CASE (SELECT relkind FROM pg_class c WHERE c.oid = objid) WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END"
        " || objid::regclass END AS object"
        " FROM pg_shdepend WHERE deptype = 'a' AND refclassid = 'pg_authid'::regclass AND refobjid = %s::regrole"
        " AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (identifier.as_string(connection),),
    ).fetchall()
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(owner_role)))
    for row in granted:
        connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(sql.SQL(row["object"]), identifier))
    connection.execute("SET LOCAL ROLE NONE")
    connection.execute(sql.SQL("DROP ROLE {}").format(identifier))


def empty(connection: Connection, owner_role: str, created: Sequence[str], *, expected: str | None) -> str:
    """Drop everything in the database that is neither the server's nor an extension's, and created roles.

    Parameters
    ----------
    connection : psycopg.Connection
        In a transaction.
    owner_role : str
        Role of the account's owner.
    created : sequence of str
        Roles of regular keys and members.
    expected : str or None
        What an earlier call returned. If these are the rights once the tables are gone, none is revoked and granted
        again, which takes longer than all the rest.

    Returns
    -------
    str
        Digest of the rights in an empty database, for the next call.
    """
    _end_sessions(connection, [owner_role, PUBLIC_ROLE], idle=False)
    _end_sessions(connection, created, idle=True)
    connection.execute("SET LOCAL client_min_messages = error")
    connection.execute("SELECT cartodb_local.drop_user_objects()")
    if created or _rights(connection, owner_role) != expected:
        # Not of the public role: that would take its rights on other databases of the cluster away.
        owners = sql.SQL(", ").join(map(sql.Identifier, [owner_role, *created]))
        connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(owners))
        connection.execute("SELECT cartodb_local.drop_user_objects()")
        for role in created:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
        grant_built_in(connection, owner_role)
        expected = _rights(connection, owner_role)
    connection.execute("DELETE FROM cartodb.cdb_tablemetadata")
    _forget_settings(connection, [owner_role, PUBLIC_ROLE])
    return expected


def _rights(connection: Connection, owner_role: str) -> str:
    """Return a digest of all rights in the database, and of everything else that depends on the owner or the public."""
    row = connection.execute("SELECT cartodb_local.rights(%s) AS digest", ([owner_role, PUBLIC_ROLE],)).fetchone()
    assert row is not None  # a SELECT without FROM returns one row
    return str(row["digest"])


def _forget_settings(connection: Connection, roles: Sequence[str]) -> None:
    """Undo what keys have set for their roles by ALTER ROLE, which PostgreSQL lets every role do to itself."""
    changed = connection.execute(
        "SELECT rolname FROM pg_db_role_setting JOIN pg_roles r ON r.oid = setrole WHERE rolname = ANY(%s)",
        (list(roles),),
    ).fetchall()
    for row in changed:
        for scope in ("", " IN DATABASE {database}"):
            connection.execute(
                sql.SQL("ALTER ROLE {role}" + scope + " RESET ALL").format(
                    role=sql.Identifier(row["rolname"]), database=sql.Identifier(connection.info.dbname)
                )
            )


def _run_script(connection: Connection, name: str) -> None:
    """Run a file of SQL statements that belongs to the package."""
    script = resources.files("cartoframes_lite.local").joinpath(name).read_bytes()
    connection.execute(script, prepare=False)


def _owner_role(connection: Connection, user: str) -> str:
    """Return the name of the owner role that the database remembers, or remember a new one."""
    database = connection.info.dbname
    readable = re.sub(r"[^a-z0-9_]", "_", user.lower())[:24]
    digest = hashlib.sha256(f"{user}/{database}".encode()).hexdigest()[:8]
    row = connection.execute(
        "INSERT INTO cartodb_local.account AS kept (owner_role) VALUES (%s)"
        " ON CONFLICT (is_the_one) DO UPDATE SET owner_role = kept.owner_role RETURNING owner_role",
        (f"carto_{readable}_{digest}",),
    ).fetchone()
    assert row is not None  # the statement always returns its row
    return str(row["owner_role"])


def _create_role(connection: Connection, role: str) -> None:
    """Create a role without rights that may log in, unless there is one of this name."""
    statement = sql.SQL(
        "DO $do$ BEGIN CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $do$"
    )
    connection.execute(statement.format(sql.Identifier(role)))


def _search_path(connection: Connection) -> sql.Composable:
    """Let every session of the database find PostGIS and the schema ``cartodb`` without naming them.

    Returns
    -------
    psycopg.sql.Composable
        The search path of these sessions. Users may have put functions and operators there that suit a call better
        than PostgreSQL's own: with this path a superuser defines things, and calls nothing.
    """
    connection.execute("SET LOCAL search_path TO DEFAULT")
    connection.execute("CREATE EXTENSION IF NOT EXISTS postgis")
    row = connection.execute(
        "SELECT pg_catalog.current_setting('search_path') AS path,"
        " pg_catalog.current_schemas(false)::pg_catalog.text[] AS found"
    ).fetchone()
    connection.execute(_SAFE_PATH)
    assert row is not None  # a SELECT without FROM returns one row
    missing = [name for name in (_postgis_schema(connection), "cartodb") if name not in row["found"]]
    kept = [sql.SQL(row["path"])] if row["path"] else []
    path = sql.SQL(", ").join([*kept, *map(sql.Identifier, missing)])
    if missing:
        database = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET search_path = {}").format(database, path))
    return path


def _postgis_schema(connection: Connection) -> str:
    """Return the schema that PostGIS was created in."""
    row = connection.execute(
        "SELECT nspname FROM pg_namespace n JOIN pg_extension e ON n.oid = extnamespace WHERE extname = 'postgis'"
    ).fetchone()
    assert row is not None  # created by `prepare`
    return str(row["nspname"])


def _end_sessions(connection: Connection, roles: Sequence[str], *, idle: bool) -> None:
    """End sessions of roles in this database; those that do nothing and hold nothing only if asked."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND usename = ANY(%s) AND (%s OR state <> 'idle')",
        (list(roles), idle),
    )
