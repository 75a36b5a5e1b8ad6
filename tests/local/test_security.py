"""What no key may do: change its role, access the machine, see other users' queries."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import requests

from tests.local.sql_client import SQLClient, error_of

REFUSED = re.compile("permission denied|must be superuser")  # as the versions of PostgreSQL say it
KINDS = ["public", "regular", "master"]


@pytest.fixture
def using(sql: SQLClient) -> Callable[[str], SQLClient]:
    def choose(kind: str) -> SQLClient:
        sql.run("CREATE TABLE granted (a int)")
        made = {"public": lambda: sql.with_key(None), "master": lambda: sql}
        return made.get(kind, lambda: sql.regular("granted", permissions=("select", "insert"), create=True))()

    return choose


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TEMP TABLE x (line text); COPY x FROM '/etc/passwd'",
        "CREATE TEMP TABLE x (line text); COPY x FROM PROGRAM 'id'",
        "COPY (SELECT 1) TO '/tmp/carto-test'",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_read_binary_file('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "SELECT pg_stat_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_export(1, '/tmp/carto-test')",
        "SELECT pg_reload_conf()",
        "ALTER SYSTEM SET log_statement = 'all'",
        "CREATE EXTENSION file_fdw",
        "CREATE EXTENSION dblink",
        "CREATE EXTENSION plpython3u",
        "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'x'",
        "CREATE ROLE intruder",
        "CREATE DATABASE intruder",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SET session_replication_role = replica",
        "SELECT * FROM cartodb_local.api_keys",
        "SELECT * FROM cartodb_local.account",
        "SELECT * FROM pg_authid",
        "SELECT * FROM pg_hba_file_rules",
    ],
)
def test_hostile_statements_are_refused(using: Callable[[str], SQLClient], kind: str, statement: str) -> None:
    response = using(kind).send(statement)
    assert response.status_code in (400, 403), response.text
    assert "rows" not in response.json()


@pytest.mark.parametrize("kind", KINDS)
def test_copy_endpoints_read_no_files(using: Callable[[str], SQLClient], kind: str) -> None:
    client = using(kind)
    for response in (
        client.copy_from("COPY granted FROM '/etc/passwd'", b"1\n"),
        client.copy_from("COPY granted FROM PROGRAM 'id'", b"1\n"),
        client.copy_to("COPY (SELECT 1) TO '/tmp/carto-test'"),
        client.copy_to("COPY (SELECT 1) TO PROGRAM 'cat'"),
        client.copy_to("COPY (SELECT pg_read_file('/etc/passwd')) TO STDOUT"),
    ):
        assert response.status_code in (400, 403), response.text
        assert REFUSED.search(error_of(response))


def test_a_job_has_no_other_rights(sql: SQLClient) -> None:
    for query in ("COPY (SELECT 1) TO PROGRAM 'cat'", "SELECT pg_read_file('/etc/passwd')"):
        job = sql.job_in(sql.start_job(query)["job_id"], "failed", "done")
        assert REFUSED.search(job["failed_reason"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change",
    ["RESET ROLE", "SET ROLE NONE", "RESET SESSION AUTHORIZATION", "SET SESSION AUTHORIZATION DEFAULT", "DISCARD ALL"],
)
def test_a_role_stays_what_it_is(using: Callable[[str], SQLClient], kind: str, change: str) -> None:
    client = using(kind)
    for user in ("current_user", "session_user"):
        query = f"COPY (SELECT rolsuper FROM pg_roles WHERE rolname = {user}) TO STDOUT"
        assert client.copy_to(query).content == b"f\n"
    before = client.value("SELECT current_user")
    response = client.send(f"{change}; SELECT current_user = session_user AND current_user = '{before}' AS ok")
    assert response.status_code == 400 or response.json()["rows"] == [{"ok": True}]


@pytest.mark.parametrize("kind", ["public", "regular"])
def test_the_owners_role_is_out_of_reach(sql: SQLClient, using: Callable[[str], SQLClient], kind: str) -> None:
    client, owner = using(kind), sql.value("SELECT current_user")
    for statement in (
        f'SET ROLE "{owner}"',
        f'SET SESSION AUTHORIZATION "{owner}"',
        f'GRANT "{owner}" TO CURRENT_USER',
    ):
        assert client.send(statement).status_code in (400, 403)


@pytest.mark.parametrize("kind", ["public", "regular"])
def test_tables_of_others_are_closed(sql: SQLClient, using: Callable[[str], SQLClient], kind: str) -> None:
    client = using(kind)
    sql.run("CREATE TABLE secret (a int); INSERT INTO secret VALUES (1)")
    other = sql.regular(create=True)
    other.run("CREATE TABLE others (a int)")
    for table in ("secret", "others"):
        for statement in (
            f"SELECT * FROM {table}",
            f"INSERT INTO {table} VALUES (1)",
            f"TRUNCATE {table}",
            f"DROP TABLE {table}",
            f"ALTER TABLE {table} ADD COLUMN b int",
            f"GRANT SELECT ON {table} TO PUBLIC",
            f"CREATE POLICY x ON {table}",
        ):
            response = client.send(statement)
            assert response.status_code in (400, 403), statement
        assert client.copy_from(f"COPY {table} FROM STDIN", b"1\n").status_code == 403
        assert client.copy_to(f"COPY {table} TO STDOUT").status_code == 403
    assert sql.value("SELECT count(*) FROM others") == 0  # the owner sees everything of the account


# Each role has the rights of publicuser, whose sessions anybody may use.
OTHERS = "FROM pg_stat_activity WHERE usename NOT IN (current_user, 'publicuser')"


@pytest.mark.parametrize("kind", ["public", "regular"])
def test_queries_of_others_are_not_shown(sql: SQLClient, using: Callable[[str], SQLClient], kind: str) -> None:
    client = using(kind)
    sql.run("SELECT 'a password' AS x")
    shown = client.copy_to(f"COPY (SELECT query {OTHERS} AND query <> '') TO STDOUT")
    assert set(shown.text.splitlines()) == {"<insufficient privilege>"}


def test_queries_of_the_server_are_hidden_from_the_owner(sql: SQLClient) -> None:
    shown = sql.run("SELECT query FROM pg_stat_activity a JOIN pg_roles ON rolname = usename WHERE rolsuper")["rows"]
    assert {row["query"] for row in shown} == {"<insufficient privilege>"}


@pytest.mark.parametrize("kind", ["public", "regular"])
def test_queries_of_others_are_not_stopped(sql: SQLClient, using: Callable[[str], SQLClient], kind: str) -> None:
    client = using(kind)
    pids = client.copy_to(f"COPY (SELECT pid {OTHERS}) TO STDOUT").text.split()
    assert pids
    for pid in pids:
        assert client.send(f"SELECT pg_terminate_backend({pid})").status_code in (400, 403)


def test_a_key_that_was_deleted_opens_nothing(sql: SQLClient) -> None:
    regular = sql.regular()
    name = requests.get(f"{sql.base_url}/api/v3/api_keys", {"api_key": sql.key or ""}, timeout=10).json()["result"][-1][
        "name"
    ]
    regular.run("SELECT 1 AS a")
    deleted = requests.delete(f"{sql.base_url}/api/v3/api_keys/{name}", params={"api_key": sql.key}, timeout=10)
    assert deleted.status_code in (200, 204)
    response = regular.send("SELECT 1 AS a")
    assert (response.status_code, error_of(response)) == (401, "Unauthorized")
