"""Publishing with lost or repeated requests and responses: rows are written exactly once, or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator

import pandas as pd
import pytest

import cartoframes_lite as cfl
from cartoframes_lite.write import publishing, staging_names, target
from cartoframes_lite.write.staged_sql import Staged
from tests.fault_proxy import Fault, FaultProxy, gateway_response

FRAME = pd.DataFrame({"a": range(100)})
PUBLISH = {"fail": b"RENAME+TO+%22t%22", "append": b"INSERT+INTO", "replace": b"INSERT+INTO"}
QUESTION = b"IN+ROW+SHARE+MODE"
FAULTS = {
    "not sent": {},
    "no response": {"side": "response"},
    "half a status line": {"side": "response", "at": 20},
    "half the headers": {"side": "response", "at": 150},
    **{
        status: {"side": "response", "action": "replace", "instead": gateway_response(status)}
        for status in ("504 Gateway Timeout", "502 Bad Gateway", "200 OK")
    },
}


@pytest.fixture
def proxy(carto, monkeypatch) -> Iterator[FaultProxy]:
    monkeypatch.setattr("cartoframes_lite._client.http.retry._FIRST_DELAY_S", 0.01)
    proxy = FaultProxy(carto.base_url)
    yield proxy
    proxy.close()


@pytest.fixture
def through(proxy, credentials) -> cfl.Credentials:
    return cfl.Credentials(api_key=credentials.api_key, base_url=proxy.base_url)


@pytest.fixture
def written(credentials) -> Callable[[], int]:
    def count() -> int:
        sql = cfl.Client(credentials).sql
        assert [name for name in sql.tables() if name.startswith(staging_names.PREFIX)] == []
        return sql.rows("SELECT count(*)::int4 AS n FROM t")[0]["n"] if sql.has_table(None, "t") else 0

    return count


@pytest.mark.parametrize("if_exists", ["fail", "append", "replace"])
@pytest.mark.parametrize("options", FAULTS.values(), ids=FAULTS)
def test_rows_are_written_once(options, if_exists, proxy, through, credentials, written):
    if if_exists != "fail":
        cfl.to_carto(FRAME, "t", credentials)
    fault = Fault(PUBLISH[if_exists], **options)
    proxy.play(fault)
    cfl.to_carto(FRAME, "t", through, if_exists=if_exists)
    assert fault.fired
    assert written() == (200 if if_exists == "append" else 100)


def test_a_publish_that_never_arrives_leaves_nothing(proxy, through, written):
    faults = [Fault(PUBLISH["fail"]) for _ in range(10)]
    proxy.play(*faults)
    with pytest.raises(cfl.ConnectionFailed, match="connection was lost"):
        cfl.to_carto(FRAME, "t", through)
    assert sum(fault.fired for fault in faults) == 3
    assert written() == 0


def test_an_unknown_outcome_names_the_staging_table(proxy, through, credentials):
    cfl.to_carto(FRAME, "t", credentials)
    proxy.play(Fault(PUBLISH["append"], "response"), *[Fault(QUESTION) for _ in range(50)])
    with pytest.raises(cfl.PublishUnknown, match=rf"a table '{staging_names.PREFIX}\w+', it was not"):
        cfl.to_carto(FRAME, "t", through, if_exists="append")
    assert len(cfl.read_carto("t", credentials)) == 200


def test_a_refusal_is_not_tried_again(proxy, through, credentials, written):
    cfl.Client(credentials).sql.send("CREATE TABLE t (a int CHECK (a < 5))")
    with pytest.raises(cfl.SQLError, match="violates check"):
        cfl.to_carto(FRAME, "t", through, if_exists="append")
    assert written() == 0


@pytest.mark.parametrize("fault", ["not sent", "no response", "504 Gateway Timeout"])
def test_an_upload_that_breaks_starts_again(fault, proxy, through, written):
    proxy.play(Fault(b"/copyfrom", **FAULTS[fault]))
    cfl.to_carto(FRAME, "t", through)
    assert written() == 100


def test_a_response_about_another_table_proves_nothing(proxy, through, credentials, written):
    """The response is about a table with another name, which must not count as published."""
    cfl.to_carto(FRAME, "other", credentials)
    (row,) = cfl.Client(credentials).sql.rows("SELECT 'other'::regclass::oid::text AS oid, 'cfl_staging_x' AS name")
    body = json.dumps({"rows": [row], "time": 0.001, "total_rows": 1}).encode()
    fault = Fault(b"CREATE+TABLE", "response", action="replace", instead=gateway_response("200 OK", body))
    proxy.play(fault)
    cfl.to_carto(FRAME, "t", through)
    assert fault.fired
    assert written() == 100


def test_the_state_query_waits_for_a_running_publish(credentials, written):
    client = cfl.Client(credentials)
    cfl.to_carto(FRAME, "t", credentials)
    client.sql.send("CREATE TABLE cfl_staging_x AS SELECT a FROM t")
    (row,) = client.sql.rows("SELECT 'cfl_staging_x'::regclass::oid::int4 AS oid")
    publish = (
        "LOCK TABLE cfl_staging_x IN EXCLUSIVE MODE; INSERT INTO t (a) SELECT a FROM cfl_staging_x;"
        "SELECT pg_sleep(1); ALTER TABLE cfl_staging_x RENAME TO x_published"
    )
    at_work = threading.Thread(target=client.sql.send, args=(publish,))
    at_work.start()
    locked = "SELECT count(*)::int4 AS n FROM pg_locks WHERE relation = to_regclass('cfl_staging_x')"
    while client.sql.rows(locked) == [{"n": 0}]:
        pass
    destination = target.Destination(client, "public", "t")
    assert publishing._query_state(destination, Staged("cfl_staging_x", row["oid"], 100)) == "published"
    at_work.join()
    assert written() == 200


@pytest.mark.parametrize(("if_exists", "rows"), [("append", 400), ("replace", 100)])
def test_several_writers_create_one_table(if_exists, rows, credentials, written):
    arguments = {"if_exists": if_exists, "progress": False}
    writers = [threading.Thread(target=cfl.to_carto, args=(FRAME, "t", credentials), kwargs=arguments) for _ in "1234"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert written() == rows


def test_only_one_creates_a_table_that_must_not_exist(credentials, written):
    ends: list[object] = []

    def write() -> None:
        try:
            ends.append(cfl.to_carto(FRAME, "t", credentials, progress=False))
        except cfl.TableExistsError as error:
            ends.append(type(error))

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(map(str, ends)) == sorted(["t", *[str(cfl.TableExistsError)] * 3])
    assert written() == 100


def test_replaces_with_different_columns_follow_each_other(credentials, written):
    cfl.to_carto(FRAME, "t", credentials)
    frames = [FRAME.rename(columns={"a": f"a{number}"}) for number in range(4)]
    arguments = {"if_exists": "replace", "progress": False}
    writers = [threading.Thread(target=cfl.to_carto, args=(f, "t", credentials), kwargs=arguments) for f in frames]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert written() == 100
    assert len(cfl.read_carto("t", credentials).columns) == 3


@pytest.mark.parametrize("foreign", ["no answer", "another staging table"])
def test_a_description_of_another_request_is_asked_for_again(foreign, proxy, through, credentials, written):
    answer = {"schema": "public", "oid": None, "may_create": True, "table": None, "signature": None, "leftovers": None}
    staging = {"name": "cfl_staging_00000000_00000000", "oid": "1", "shape": ""}
    row = {"other": 1} if foreign == "no answer" else {"answer": {**answer, "staging": staging}}
    body = json.dumps({"rows": [row], "time": 0.001, "total_rows": 1}).encode()
    cfl.to_carto(FRAME, "t", credentials)
    fault = Fault(0, "response", action="replace", instead=gateway_response("200 OK", body))
    proxy.play(fault)
    cfl.to_carto(FRAME, "t", through, if_exists="append")
    assert fault.fired
    assert written() == 200


def test_an_interrupt_of_the_first_request_leaves_nothing(proxy, through, written, monkeypatch):
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cartoframes_lite.write.early_staging.read_target", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cfl.to_carto(FRAME, "t", through)
    assert len(proxy.exchanges) == 2
    assert written() == 0
