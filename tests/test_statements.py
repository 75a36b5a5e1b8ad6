from __future__ import annotations

import time

import pandas as pd
import pytest

import cartoframes_lite as cfl
import cartoframes_lite.local


@pytest.fixture
def table(credentials):
    return cfl.to_carto(pd.DataFrame({"n": [1, 2, 3], "t": ["a", "b", "50%"]}), "t", credentials, cartodbfy=False)


def test_the_number_of_rows(table, credentials):
    assert cfl.execute("UPDATE t SET n = n + %s WHERE n > %s", [10, 1], credentials) == 2
    assert cfl.execute("DELETE FROM t WHERE t = %(t)s", {"t": "a"}, credentials) == 1
    assert cfl.execute("INSERT INTO t (n, t) VALUES (%s, %s)", (7, "it's \\ "), credentials) == 1
    assert cfl.execute("SELECT * FROM t", credentials=credentials) == 3
    assert cfl.execute("DELETE FROM t WHERE false", credentials=credentials) == 0
    assert "it's \\ " in set(cfl.read_carto("t", credentials)["t"])


def test_other_statements(table, credentials):
    for statement in ("CREATE INDEX ON t (n)", "ANALYZE t", "VACUUM t", "CREATE VIEW v AS SELECT * FROM t"):
        assert cfl.execute(statement, credentials=credentials) == 0
    assert cfl.execute("UPDATE t SET n = 0 WHERE t LIKE '%0%'", credentials=credentials) == 1
    assert cfl.execute("DELETE FROM t WHERE n = 0; DELETE FROM t", credentials=credentials) == 2


def test_several_statements_are_one_transaction(table, credentials):
    with pytest.raises(cfl.SQLError, match="division"):
        cfl.execute("DELETE FROM t; SELECT 1 / 0", credentials=credentials)
    assert len(cfl.read_carto(table, credentials)) == 3


def test_a_batch_job(table, credentials):
    assert cfl.execute("UPDATE t SET n = %(n)s", {"n": 5}, credentials, batch=True) is None
    assert set(cfl.read_carto(table, credentials)["n"]) == {5}
    with pytest.raises(cfl.JobError, match="division"):
        cfl.execute("SELECT 1 / 0", credentials=credentials, batch=True)


def test_a_timeout_ends_the_wait_once(credentials):
    """A statement that takes longer is not sent again: it would be executed twice."""
    cfl.execute("CREATE SEQUENCE runs", credentials=credentials)
    begun = time.monotonic()
    with pytest.raises(cfl.ResponseTimeout, match=r"no response within 0\.5 s; the statement may still be running"):
        cfl.execute("SELECT nextval('runs'), pg_sleep(60)", credentials=credentials, timeout_s=0.5)
    assert time.monotonic() - begun < 50
    with pytest.raises(cfl.JobTimeout, match=r"0\.3 s"):
        cfl.execute("SELECT pg_sleep(5)", credentials=credentials, batch=True, timeout_s=0.3)
    assert cfl.Client(credentials).sql.row("SELECT last_value AS n FROM runs", "n")["n"] == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("",), TypeError, "sql must be"),
        ((None,), TypeError, "sql must be"),
        (("SELECT '\0'",), ValueError, r"U\+0000"),
        (("SELECT %s", [object()]), TypeError, "no SQL literal"),
    ],
)
def test_wrong_arguments_send_no_request(arguments, error, message):
    nobody = cfl.Credentials(api_key="key", base_url="http://127.0.0.1:9/user/ann")
    with pytest.raises(error, match=message):
        cfl.execute(*arguments, credentials=nobody)
    with pytest.raises(ValueError, match="timeout_s"):
        cfl.execute("SELECT 1", None, nobody, timeout_s=-1)
