"""Rows that are deleted by a condition."""

from __future__ import annotations

import pandas as pd
import pytest

import cartoframes_lite as cfl

FRAME = pd.DataFrame({"a": range(10), "n": [f"it's {n} %" for n in range(10)]})


@pytest.fixture
def dataset(credentials):
    return cfl.Dataset(cfl.to_carto(FRAME, "t", credentials, progress=False), credentials)


def left(dataset):
    return sorted(dataset.read(columns=["a"])["a"])


def test_rows_that_meet_the_condition_are_deleted(dataset, credentials):
    assert dataset.delete_rows("a < 2 OR a = 5 -- some") == 3
    assert dataset.delete_rows("n = %s", ["it's 7 %"]) == 1
    assert dataset.delete_rows("a = ANY (%(some)s) AND n LIKE '%%'", {"some": [3, 99]}) == 1
    assert dataset.delete_rows("false") == 0
    assert left(dataset) == [2, 4, 6, 8, 9]
    assert dataset.delete_rows("true") == 5
    assert cfl.Client(credentials).sql.rows("SELECT relname FROM pg_class WHERE relname LIKE 'cfl_%'") == []


@pytest.mark.parametrize(
    ("where", "params", "error", "message"),
    [
        ("", None, TypeError, "must be an SQL condition"),
        (None, None, TypeError, "must be an SQL condition"),
        ("true; DROP TABLE t", None, ValueError, "not a single SQL condition"),
        ("a = %s", [], ValueError, "1 placeholders"),
        ("a = (SELECT 1", None, ValueError, "not a single SQL condition"),
    ],
)
def test_wrong_conditions_are_refused_before_any_request(where, params, error, message):
    nowhere = cfl.Credentials(base_url="http://127.0.0.1:9/user/none", api_key="none")
    with pytest.raises(error, match=message):
        cfl.Dataset("t", nowhere).delete_rows(where, params)


@pytest.mark.parametrize(
    "where", ["queue = 'x'", "n", "1 / (a - 3) > 0", "a = $1", "true) OR (true; --", "item IS NULL"]
)
def test_a_condition_that_fails_deletes_nothing(where, dataset):
    with pytest.raises((cfl.SQLError, ValueError)):
        dataset.delete_rows(where)
    assert len(left(dataset)) == 10


def test_there_is_no_table_to_delete_from(credentials):
    with pytest.raises(cfl.TableNotFoundError):
        cfl.Dataset("nothing", credentials).delete_rows("true")
