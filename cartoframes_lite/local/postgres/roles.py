"""Database roles of the account's owner, of requests without a key, of regular keys and of the organization.

No role of a key is a superuser or a member of another key's role, so PostgreSQL itself prevents requests from reading
files, running programs, or accessing tables that were not granted to their key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import psycopg
from psycopg import sql

from cartoframes_lite.local.errors import LocalServerError
from cartoframes_lite.local.postgres.logins import Connection, Login, find_login, set_password

PUBLIC_ROLE = "publicuser"
# Functions of PostGIS that disclose statistics of tables without a privilege check.
_STATISTICS_FUNCTIONS = (
    "st_estimatedextent",
    "_postgis_stats",
    "_postgis_selectivity",
    "_postgis_join_selectivity",
    "_postgis_index_extent",
)
# Functions with side effects that a READ ONLY transaction does not prevent. Denied to requests without a key.
_ADVISORY_LOCKS = "^pg_(try_)?advisory_"
_KEY_FUNCTIONS = (
    "pg_cancel_backend(integer)",
    "pg_terminate_backend(integer,bigint)",
    "pg_logical_emit_message(boolean,text,bytea)",
    "pg_logical_emit_message(boolean,text,text)",
    "pg_notify(text,text)",
    "cartodb.cdb_tablemetadata_trigger()",
)
_SCRIPTS = (
    "postgres/state.sql",
    "catalog/tables.sql",
    "catalog/pages.sql",
    "catalog/people.sql",
    "imports/tables.sql",
    "maps/tables.sql",
)
_SAFE_PATH = "SET LOCAL search_path = pg_catalog, pg_temp"
# Id of the advisory lock that serializes the preparation of a database by several servers; an arbitrary number.
_PREPARE_LOCK = 0x0CA270DB


@dataclass(frozen=True, slots=True)
class AccountRoles:
    """Role of the account's owner, and the login method of all its roles."""

    owner_role: str
    login: Login


def prepare(connection: Connection, dsn: str, user: str, *, private: bool) -> AccountRoles:
    """Create or update the schemas, functions and roles of the account in its database.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection in autocommit mode of a superuser, or of a user who can create roles and extensions.
    dsn : str
        Connection string that it was opened with.
    user : str
        Name of the account, part of the name of a new owner role.
    private : bool
        Whether the cluster was started by this server; all roles can log in there.

    Returns
    -------
    AccountRoles

    Raises
    ------
    LocalServerError
        If the user does not have the necessary privileges, or PostGIS is not installed on the database server.
    """
    try:
        with connection.transaction():
            connection.execute("SET LOCAL client_min_messages = error")
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_PREPARE_LOCK,))
            path = _search_path(connection)
            for script in _SCRIPTS:
                _run_script(connection, script)
            owner_role = _owner_role(connection, user)
            _create_role(connection, PUBLIC_ROLE)
            _create_role(connection, owner_role)
            connection.execute(sql.SQL("SET LOCAL search_path = {}").format(path))
            _run_script(connection, "postgres/cartodb.sql")
            _run_script(connection, "postgres/cartodbfy.sql")
            _run_script(connection, "postgres/bins.sql")
            connection.execute(_SAFE_PATH)
            grant_built_in(connection, owner_role)
            _reset_settings(connection, [PUBLIC_ROLE])
    except psycopg.errors.InsufficientPrivilege as error:
        raise LocalServerError(
            f"the user of the DSN cannot prepare the database: {error.diag.message_primary}; use the DSN of a superuser"
        ) from error
    except psycopg.errors.FeatureNotSupported as error:
        raise LocalServerError(
            f"PostGIS is not installed on the server of the DSN: {error.diag.message_primary}; install it there"
        ) from error
    return AccountRoles(owner_role, Login(dsn) if private else find_login(connection, dsn, (owner_role, PUBLIC_ROLE)))


def grant_built_in(connection: Connection, owner_role: str) -> None:
    """Grant the privileges of the owner and of the public role on the database and its schemas."""
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
        # Large objects: grants of a key can only name tables and schemas.
        "REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) TO {owner}",
        # Tables created by the user of the DSN are accessible to the account.
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {owner} WITH GRANT OPTION",
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO {owner} WITH GRANT OPTION",
    ):
        connection.execute(sql.SQL(statement).format(owner=owner, public=public, database=database, postgis=postgis))
    _restrict_statistics(connection, owner_role)
    keys = connection.execute("SELECT role FROM cartodb_local.api_keys WHERE kind = 'regular'").fetchall()
    for role in (owner_role, *(str(row["role"]) for row in keys)):
        _grant_key_functions(connection, role)


def _grant_key_functions(connection: Connection, role: str) -> None:
    """Grant a key's role temporary tables and functions with side effects, which the public role does not have."""
    found = connection.execute(
        "SELECT p.oid::regprocedure::text AS function FROM pg_proc p WHERE p.oid::regprocedure::text = ANY(%(named)s)"
        " OR pronamespace = 'pg_catalog'::regnamespace AND proname ~ %(locks)s",
        {"named": list(_KEY_FUNCTIONS), "locks": _ADVISORY_LOCKS},
    ).fetchall()
    grantee, database = sql.Identifier(role), sql.Identifier(connection.info.dbname)
    functions = sql.SQL(", ").join(sql.SQL(row["function"]) for row in found)
    connection.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}").format(database, grantee))
    connection.execute(sql.SQL("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC").format(functions))
    connection.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(functions, grantee))


def _restrict_statistics(connection: Connection, owner_role: str) -> None:
    """Restrict PostGIS's functions for extents and histograms of tables to the owner: they check no privileges."""
    found = connection.execute(
        "SELECT n.nspname, proname, pg_get_function_identity_arguments(p.oid) AS arguments"
        " FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace"
        " JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'"
        " JOIN pg_extension e ON e.oid = d.refobjid WHERE extname = 'postgis' AND proname = ANY(%s)",
        (list(_STATISTICS_FUNCTIONS),),
    ).fetchall()
    owner = sql.Identifier(owner_role)
    for row in found:
        function = sql.SQL("{}({})").format(sql.Identifier(row["nspname"], row["proname"]), sql.SQL(row["arguments"]))
        connection.execute(sql.SQL("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC").format(function))
        connection.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(function, owner))


def create_key_role(connection: Connection, owner_role: str, role: str, login: Login) -> None:
    """Create the role of a regular key.

    The role is a member of the public role. The owner is a member of the role, and so has access to tables created
    with the key.
    """
    _create_role(connection, role)
    set_password(connection, role, login)
    identifier = sql.Identifier(role)
    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(PUBLIC_ROLE), identifier))
    connection.execute(sql.SQL("GRANT {} TO {}").format(identifier, sql.Identifier(owner_role)))
    _grant_key_functions(connection, role)


def member_role(owner_role: str, suffix: str) -> str:
    """Return the name of the role of a member of the account's organization."""
    return f"{owner_role}_member_{suffix}"


def organization_role(owner_role: str) -> str:
    """Return the name of the group role of all members."""
    return f"{owner_role}_organization"


def create_organization_role(connection: Connection, owner_role: str) -> None:
    """Create the group role of all members, unless it exists."""
    create_group_role(connection, organization_role(owner_role))


def create_member_role(connection: Connection, owner_role: str, role: str) -> None:
    """Create the role of a member, without login, as a member of the organization's role."""
    create_organization_role(connection, owner_role)
    create_group_role(connection, role)
    organization = sql.Identifier(organization_role(owner_role))
    connection.execute(sql.SQL("GRANT {} TO {}").format(organization, sql.Identifier(role)))


def group_role(owner_role: str, suffix: str) -> str:
    """Return the name of the role of a group of members."""
    return f"{owner_role}_group_{suffix}"


def created_roles(connection: Connection, owner_role: str) -> list[str]:
    """Return the names of the roles of regular keys, of members, of groups and of the organization."""
    rows = connection.execute(
        "SELECT role FROM cartodb_local.api_keys WHERE kind = 'regular'"
        " UNION SELECT role FROM cartodb_local.members UNION SELECT role FROM cartodb_local.groups"
        " UNION SELECT rolname FROM pg_roles WHERE rolname = %s",
        (organization_role(owner_role),),
    ).fetchall()
    return [str(row["role"]) for row in rows]


def drop_key_role(connection: Connection, owner_role: str, role: str) -> None:
    """Drop the role of a regular key or a member; the account's owner takes over its objects."""
    _terminate_sessions(connection, [role], idle=True)
    identifier = sql.Identifier(role)
    connection.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(identifier, sql.Identifier(owner_role)))
    connection.execute(sql.SQL("DROP OWNED BY {}").format(identifier))
    # DROP OWNED does not revoke what the owner granted on objects of others: the schema public, tables of the DSN's
    # user.
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
    """Drop all objects that belong neither to the server nor to an extension, and the created roles.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection with an open transaction.
    owner_role : str
        Role of the account's owner.
    created : sequence of str
        Roles of regular keys and members.
    expected : str or None
        Return value of an earlier call. If the privileges still match it after the objects were dropped, they are not
        revoked and granted again, which would take longer than everything else.

    Returns
    -------
    str
        Digest of the privileges in the empty database, for the next call.
    """
    _terminate_sessions(connection, [owner_role, PUBLIC_ROLE], idle=False)
    _terminate_sessions(connection, created, idle=True)
    connection.execute("SET LOCAL client_min_messages = error")
    connection.execute("SELECT cartodb_local.drop_user_objects()")
    if created or _rights(connection, owner_role) != expected:
        # Not for the public role: DROP OWNED would also revoke its privileges on other databases of the cluster.
        owners = sql.SQL(", ").join(map(sql.Identifier, [owner_role, *created]))
        connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(owners))
        connection.execute("SELECT cartodb_local.drop_user_objects()")
        for role in created:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
        grant_built_in(connection, owner_role)
        expected = _rights(connection, owner_role)
    connection.execute("DELETE FROM cartodb.cdb_tablemetadata")
    _reset_settings(connection, [owner_role, PUBLIC_ROLE])
    return expected


def _rights(connection: Connection, owner_role: str) -> str:
    """Return a digest of all privileges in the database, and of all objects that depend on the owner or public role."""
    row = connection.execute("SELECT cartodb_local.rights(%s) AS digest", ([owner_role, PUBLIC_ROLE],)).fetchone()
    assert row is not None  # a SELECT without FROM returns one row
    return str(row["digest"])


def _reset_settings(connection: Connection, roles: Sequence[str]) -> None:
    """Reset settings made with ALTER ROLE ... SET, which every role can run on itself."""
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
    """Run an SQL file of the package."""
    script = resources.files("cartoframes_lite.local").joinpath(name).read_bytes()
    connection.execute(script, prepare=False)


def _owner_role(connection: Connection, user: str) -> str:
    """Return the name of the owner role stored in the database, or store a new one."""
    database = connection.info.dbname
    readable = re.sub(r"[^a-z0-9_]", "_", user.lower())[:24]
    digest = hashlib.sha256(f"{user}/{database}".encode()).hexdigest()[:8]
    row = connection.execute(
        "INSERT INTO cartodb_local.account AS kept (owner_role) VALUES (%s)"
        " ON CONFLICT (is_the_one) DO UPDATE SET owner_role = kept.owner_role RETURNING owner_role",
        (f"carto_{readable}_{digest}",),
    ).fetchone()
    assert row is not None  # both INSERT and UPDATE return the row
    return str(row["owner_role"])


def create_group_role(connection: Connection, role: str) -> None:
    """Create a role without login that may do what the public role may, unless it exists."""
    _create_role(connection, role)
    connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(role)))
    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(PUBLIC_ROLE), sql.Identifier(role)))


def _create_role(connection: Connection, role: str) -> None:
    """Create a role with login and without privileges, unless it exists."""
    statement = sql.SQL(
        "DO $do$ BEGIN CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $do$"
    )
    connection.execute(statement.format(sql.Identifier(role)))


def _search_path(connection: Connection) -> sql.Composable:
    """Add the schemas of PostGIS and ``cartodb`` to the search path of the database's sessions.

    Returns
    -------
    psycopg.sql.Composable
        The search path. Users may have created functions or operators in it that take precedence over PostgreSQL's:
        with this path a superuser must only create objects, never call functions.
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
    """Return the schema of the extension PostGIS."""
    row = connection.execute(
        "SELECT nspname FROM pg_namespace n JOIN pg_extension e ON n.oid = extnamespace WHERE extname = 'postgis'"
    ).fetchone()
    assert row is not None  # created by `prepare`
    return str(row["nspname"])


def _terminate_sessions(connection: Connection, roles: Sequence[str], *, idle: bool) -> None:
    """Terminate the sessions of roles in this database; idle sessions only if ``idle`` is true."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND usename = ANY(%s) AND (%s OR state <> 'idle')",
        (list(roles), idle),
    )
