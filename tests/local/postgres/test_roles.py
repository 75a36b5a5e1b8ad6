"""Roles in an external database, with each login method of PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cartoframes_lite.local.errors import LocalServerError
from cartoframes_lite.local.postgres.cluster import Cluster, ExternalDatabase, open_cluster
from cartoframes_lite.local.state import State

Given = Callable[[str], str]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Path]]:
    """Start a cluster whose login method can be changed."""
    directory = tmp_path_factory.mktemp("foreign") / "database"
    cluster = open_cluster(None, directory)
    yield cluster, directory
    cluster.stop()


@pytest.fixture
def given(foreign: tuple[Cluster, Path]) -> Iterator[Given]:
    """Return a function that creates a database with a login method for other roles, and returns its DSN."""
    cluster, directory = foreign
    with psycopg.connect(cluster.dsn, autocommit=True) as superuser:
        superuser.execute("DROP DATABASE IF EXISTS theirs WITH (FORCE)")
        superuser.execute("CREATE DATABASE theirs")
        superuser.execute("ALTER ROLE postgres PASSWORD 'secret'")

        def allow(method: str) -> str:
            (directory / "pg_hba.conf").write_text(f"local all postgres trust\nlocal all all {method}\n")
            superuser.execute("SELECT pg_reload_conf()")
            superuser.execute("SELECT pg_sleep(0.2)")
            return make_conninfo(cluster.dsn, dbname="theirs")

        yield allow
        allow("trust")


def who(state: State, role: str) -> tuple[str, str]:
    with psycopg.connect(state.conninfo(role)) as session:
        row = session.execute("SELECT current_user, session_user").fetchone()
        assert row is not None
        return row[0], row[1]


def test_roles_log_in_where_everybody_is_trusted(given: Given) -> None:
    state = State(ExternalDatabase(given("trust")), "tester")
    key = state.create_key("k", [{"type": "apis", "apis": ["sql"]}])
    for role in (state.owner_role, "publicuser", key.role):
        assert who(state, role) == (role, role)
    state.reset()
    state.close()


def test_roles_log_in_with_passwords_of_their_own(given: Given) -> None:
    dsn = make_conninfo(given("scram-sha-256"), password="secret")
    state, other = State(ExternalDatabase(dsn), "tester"), State(ExternalDatabase(dsn), "tester")
    key = state.create_key("k", [{"type": "apis", "apis": ["sql"]}])
    for role in (state.owner_role, "publicuser", key.role):
        assert who(state, role) == who(other, role) == (role, role)
        assert "secret" not in state.conninfo(role).replace(dsn, "")
    state.reset()
    state.close()
    other.close()


def test_sessions_switch_roles_without_login_rights(given: Given) -> None:
    dsn = make_conninfo(given("reject"), password="secret", options="-c application_name=mine")
    state = State(ExternalDatabase(dsn), "tester")
    assert who(state, "publicuser") == ("publicuser", "postgres")
    with psycopg.connect(state.conninfo("publicuser"), autocommit=True) as session:
        session.execute("SET ROLE NONE")
        session.execute("DISCARD ALL")  # what a pool says before the next request
        assert session.execute("SELECT current_user").fetchone() == ("publicuser",)
    state.close()


def test_database_keeps_what_was_there(given: Given) -> None:
    dsn = given("trust")
    with psycopg.connect(dsn, autocommit=True) as superuser:
        superuser.execute('CREATE SCHEMA "Gis 2"; CREATE EXTENSION postgis SCHEMA "Gis 2"')
        superuser.execute("ALTER DATABASE theirs SET search_path = public")
    state = State(ExternalDatabase(dsn), "tester")
    with psycopg.connect(state.conninfo(state.owner_role)) as owner:
        assert owner.execute("SHOW search_path").fetchone() == ('public, "Gis 2", cartodb',)
        owner.execute("CREATE TABLE t AS SELECT ST_SetSRID(ST_MakePoint(1, 2), 4326) AS the_geom")
        owner.execute("SELECT cdb_cartodbfytable('t')")
    state.reset()
    with psycopg.connect(dsn) as superuser:
        row = superuser.execute("SELECT extname FROM pg_extension WHERE extname = 'postgis'").fetchone()
    assert row == ("postgis",)
    state.close()


def test_two_accounts_share_a_cluster(given: Given, foreign: tuple[Cluster, Path]) -> None:
    first = State(ExternalDatabase(given("trust")), "tester")
    second = State(foreign[0], "tester")
    assert first.owner_role != second.owner_role
    with psycopg.connect(first.conninfo(first.owner_role)) as owner:
        owner.execute("CREATE TABLE t (i int); GRANT SELECT ON t TO publicuser")
    second.reset()
    with psycopg.connect(first.conninfo("publicuser")) as public:
        assert public.execute("SELECT count(*) FROM t").fetchone() == (0,)
    first.reset()
    first.close()
    second.close()


def test_user_without_rights_is_a_clear_error(given: Given) -> None:
    dsn = given("trust")
    with psycopg.connect(dsn, autocommit=True) as superuser:
        superuser.execute("DROP ROLE IF EXISTS weak")
        superuser.execute("CREATE ROLE weak LOGIN")
    with pytest.raises(LocalServerError, match="use the DSN of a superuser"):
        State(ExternalDatabase(make_conninfo(dsn, user="weak")), "tester")
