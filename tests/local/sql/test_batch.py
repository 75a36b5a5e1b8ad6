from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from cartoframes_lite.local import LocalCarto
from tests.local.sql_client import SQLClient, error_of

FINAL = ("done", "failed", "cancelled")


@pytest.fixture(autouse=True)
def log(sql: SQLClient) -> None:
    sql.run("CREATE TABLE log (n serial, line text)")


def lines(sql: SQLClient) -> list[str]:
    return [row["line"] for row in sql.run("SELECT line FROM log ORDER BY n")["rows"]]


def write(line: str) -> str:
    return f"INSERT INTO log (line) VALUES ('{line}')"


def statuses(job: Any) -> list[tuple[str, str | None]]:
    queries = job["query"]["query"] if isinstance(job["query"], dict) else job["query"]
    return [(query["status"], query.get("fallback_status")) for query in queries]


def test_one_query(sql: SQLClient) -> None:
    created = sql.start_job(write("a"))
    assert created["status"] == "pending"
    job = sql.job_in(created["job_id"], *FINAL)
    assert set(job) == {"user", "status", "query", "created_at", "updated_at", "job_id"}
    assert (job["status"], job["query"], job["user"]) == ("done", write("a"), "tester")
    assert job["updated_at"] >= created["created_at"]
    assert lines(sql) == ["a"]


def test_a_list_stops_at_the_first_failure(sql: SQLClient) -> None:
    job = sql.job_in(sql.start_job([write("a"), "SELECT 1/0", write("b")])["job_id"], *FINAL)
    assert (job["status"], job["failed_reason"]) == ("failed", "division by zero")
    assert statuses(job) == [("done", None), ("failed", None), ("pending", None)]
    assert lines(sql) == ["a"]


def test_fallbacks_follow_success_and_failure(sql: SQLClient) -> None:
    query = {
        "query": [
            {"query": write("1"), "onsuccess": write("1 ok <%= job_id %>"), "onerror": write("never")},
            {"query": "SELECT nope", "onsuccess": write("never"), "onerror": write("2 bad $<%=error_message%>$")},
            {"query": write("never"), "onsuccess": write("never")},
        ],
        "onsuccess": write("never"),
        "onerror": write("all bad <%= job_id %>"),
    }
    query["query"][1]["onerror"] = "INSERT INTO log (line) VALUES ($$2 bad <%=error_message%>$$)"  # type: ignore[index]
    job = sql.job_in(sql.start_job(query)["job_id"], *FINAL)
    assert statuses(job) == [("done", "done"), ("failed", "done"), ("skipped", "skipped")]
    assert (job["status"], job["fallback_status"]) == ("failed", "done")
    assert job["query"]["query"][1]["failed_reason"] == 'column "nope" does not exist'
    assert "failed_reason" not in job  # it stands where it was dealt with
    assert lines(sql) == [
        "1",
        f"1 ok {job['job_id']}",
        '2 bad column "nope" does not exist',
        "all bad <%= job_id %>",  # templates are of the queries' fallbacks only
    ]


def test_a_job_that_succeeds_skips_its_onerror(sql: SQLClient) -> None:
    query = {"query": [{"query": write("a"), "onerror": write("never")}], "onerror": write("never")}
    job = sql.job_in(sql.start_job(query)["job_id"], *FINAL)
    assert (job["status"], job["fallback_status"], statuses(job)) == ("done", "skipped", [("done", "skipped")])
    query = {"query": [{"query": write("b")}], "onsuccess": write("c")}
    job = sql.job_in(sql.start_job(query)["job_id"], *FINAL)
    assert (job["status"], job["fallback_status"], statuses(job)) == ("done", "done", [("done", None)])
    assert lines(sql) == ["a", "b", "c"]


def test_a_fallback_may_fail(sql: SQLClient) -> None:
    query = {"query": [{"query": write("a"), "onsuccess": "SELECT nope"}, {"query": write("b")}], "onsuccess": "selec"}
    job = sql.job_in(sql.start_job(query)["job_id"], *FINAL)
    assert statuses(job) == [("done", "failed"), ("done", None)]
    assert (job["status"], job["fallback_status"]) == ("done", "failed")
    assert lines(sql) == ["a", "b"]


def test_a_query_has_its_own_timeout_in_milliseconds(sql: SQLClient) -> None:
    query = {"query": [{"query": "SELECT pg_sleep(5)", "timeout": 100, "onerror": write("late")}]}
    job = sql.job_in(sql.start_job(query)["job_id"], *FINAL)
    assert job["status"] == "failed"
    assert job["query"]["query"][0]["failed_reason"] == "canceling statement due to statement timeout"
    assert lines(sql) == ["late"]


def test_jobs_run_one_after_the_other(sql: SQLClient) -> None:
    ids = [sql.start_job(f"SELECT pg_sleep(0.02); {write(str(n))}")["job_id"] for n in range(5)]
    sql.job_in(ids[-1], *FINAL)
    assert lines(sql) == list("01234")


def test_a_running_job_is_cancelled(sql: SQLClient) -> None:
    sleep = {"query": "SELECT pg_sleep(600)", "onsuccess": write("never"), "onerror": write("never")}
    query = {"query": [sleep, {"query": write("never"), "onerror": write("never")}], "onerror": write("never")}
    job_id = sql.start_job(query)["job_id"]
    sql.job_in(job_id, "running")
    begun = time.monotonic()
    cancelled = sql.job(job_id, cancel=True).json()
    assert (cancelled["status"], cancelled["fallback_status"]) == ("cancelled", "skipped")
    assert statuses(cancelled) == [("cancelled", "skipped"), ("skipped", "skipped")]
    sql.job_in(sql.start_job(write("next"))["job_id"], "done")
    assert time.monotonic() - begun < 300  # not the ten minutes of the query
    assert statuses(sql.job(job_id).json()) == statuses(cancelled)
    assert lines(sql) == ["next"]


def test_a_waiting_job_is_cancelled(sql: SQLClient) -> None:
    blocker = sql.start_job("SELECT pg_sleep(600)")["job_id"]
    listed = sql.start_job([write("never"), write("never")])["job_id"]
    fallback = sql.start_job({"query": [{"query": write("never"), "onerror": write("never")}, {"query": "SELECT 1"}]})
    sql.job_in(blocker, "running")
    assert statuses(sql.job(listed, cancel=True).json()) == [("cancelled", None), ("pending", None)]
    assert statuses(sql.job(fallback["job_id"], cancel=True).json()) == [("cancelled", "skipped"), ("skipped", None)]
    sql.job(blocker, cancel=True)
    sql.job_in(sql.start_job("SELECT 1")["job_id"], "done")
    assert sql.job(listed).json()["status"] == "cancelled"
    assert lines(sql) == []
    again = sql.job(listed, cancel=True)
    assert (again.status_code, error_of(again)) == (400, "Cannot set status from cancelled to cancelled")


def test_64_jobs_may_wait(sql: SQLClient) -> None:
    blocker = sql.start_job("SELECT pg_sleep(600)")["job_id"]
    sql.job_in(blocker, "running")
    waiting = [sql.start_job("SELECT 1")["job_id"] for _ in range(64)]
    one_more = post(sql, {"query": "SELECT 1"})
    assert (one_more.status_code, error_of(one_more)) == (
        400,
        "Failed to create job. Max number of jobs (64) queued reached",
    )
    sql.job(blocker, cancel=True)
    sql.job_in(waiting[-1], "done")


def test_a_reset_stops_and_deletes_jobs(carto: LocalCarto, sql: SQLClient) -> None:
    running = sql.start_job(["SELECT pg_sleep(600)", "CREATE TABLE leftover ()"])["job_id"]
    waiting = sql.start_job("CREATE TABLE leftover ()")["job_id"]
    sql.job_in(running, "running")
    begun = time.monotonic()
    carto.reset()
    assert time.monotonic() - begun < 300  # not the ten minutes of the query
    for job_id in (running, waiting):
        assert error_of(sql.job(job_id)) == f"Job with id {job_id} not found"
    assert sql.job_in(sql.start_job("SELECT 1")["job_id"], *FINAL)["status"] == "done"
    assert sql.value("SELECT to_regclass('leftover')::text") is None


def test_a_lost_connection_fails_one_job_only(carto: LocalCarto, sql: SQLClient) -> None:
    job_id = sql.start_job("SELECT pg_sleep(600)")["job_id"]
    sql.job_in(job_id, "running")
    ended = sql.value(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'"
    )
    assert ended == 1
    assert sql.job_in(job_id, *FINAL)["status"] == "failed"
    assert sql.job_in(sql.start_job("SELECT 1")["job_id"], *FINAL)["status"] == "done"


def test_half_a_character_in_a_query_is_replaced(sql: SQLClient) -> None:
    job = sql.job_in(sql.start_job("SELECT '\ud800'")["job_id"], *FINAL)
    assert job["status"] == "done"


def test_the_shortest_timeout_is_one_of_a_millisecond(sql: SQLClient) -> None:
    query = {"query": [{"query": "SELECT pg_sleep(5)", "timeout": 0.01}]}
    assert sql.job_in(sql.start_job(query)["job_id"], *FINAL)["status"] == "failed"


@pytest.mark.parametrize("body", [{}, {"query": ""}, {"query": None}, {"query": 0}])
def test_a_body_without_a_query_is_refused(sql: SQLClient, body: object) -> None:
    response = post(sql, body)
    assert (response.status_code, error_of(response)) == (400, "You must indicate a valid SQL")


@pytest.mark.parametrize(
    "query",
    [
        {},
        5,
        [1],
        ["SELECT 1", 1],
        {"query": "SELECT 1"},
        {"query": ["SELECT 1"]},
        {"query": [{"onerror": "SELECT 1"}]},
        {"query": [{"query": ""}]},
    ],
)
def test_a_query_of_no_known_form_is_refused(sql: SQLClient, query: object) -> None:
    response = post(sql, {"query": query})
    assert (response.status_code, error_of(response)) == (400, "there is no job class for the provided query")


def test_a_fallback_that_is_no_text_is_refused(sql: SQLClient) -> None:
    response = post(sql, {"query": {"query": [{"query": "SELECT 1", "onerror": 1}]}})
    assert (response.status_code, error_of(response)) == (400, "onerror must be SQL, not 1")


@pytest.mark.parametrize("query", [[], [{"query": "CREATE TABLE never ()"}]])
def test_a_list_without_a_pending_query_waits_forever(sql: SQLClient, query: list[object]) -> None:
    job = sql.start_job(query)
    assert (job["status"], job["query"]) == ("pending", query)
    sql.job_in(sql.start_job("SELECT 1")["job_id"], "done")  # the next one does not wait for it
    assert sql.job(job["job_id"]).json() == job
    assert sql.value("SELECT to_regclass('never')::text") is None


def test_an_empty_query_ends_a_list(sql: SQLClient) -> None:
    assert sql.job_in(sql.start_job("  ")["job_id"], *FINAL)["status"] == "done"
    job = sql.job_in(sql.start_job(["", write("never")])["job_id"], *FINAL)
    assert (job["status"], statuses(job)) == ("done", [("done", None), ("done", None)])
    job = sql.job_in(sql.start_job([write("a"), "", write("b")])["job_id"], *FINAL)
    assert (job["status"], statuses(job)) == ("done", [("done", None), ("pending", None), ("pending", None)])


def test_queries_with_fallbacks_tell_when_they_ran(sql: SQLClient) -> None:
    query = {
        "query": [
            {"query": "SELECT 1", "onsuccess": "SELECT 2", "timeout": 5000, "id": "mine", "more": {"a": 1}},
            {"query": "SELECT nope", "onerror": "SELECT 3"},
            {"query": "SELECT 4"},
        ],
        "onerror": "SELECT 5",
        "label": "x",
    }
    created = sql.start_job(query)
    assert created["query"]["query"][0] == {**query["query"][0], "status": "pending", "fallback_status": "pending"}
    job = sql.job_in(created["job_id"], *FINAL)
    first, failed, skipped = job["query"]["query"]
    for step in (first, failed):
        assert created["created_at"] <= step["started_at"] <= step["ended_at"] <= job["updated_at"]
    assert (first["timeout"], first["id"], first["more"], job["query"]["label"]) == (5000, "mine", {"a": 1}, "x")
    assert "started_at" not in skipped
    assert "ended_at" not in skipped
    listed = sql.job_in(sql.start_job(["SELECT 1"])["job_id"], *FINAL)
    assert listed["query"] == [{"query": "SELECT 1", "status": "done"}]


def test_a_running_query_has_no_end(sql: SQLClient) -> None:
    job_id = sql.start_job({"query": [{"query": "SELECT pg_sleep(600)"}, {"query": "SELECT 1"}]})["job_id"]
    running, waiting = sql.job_in(job_id, "running")["query"]["query"]
    assert set(running) == {"query", "status", "started_at"}
    assert set(waiting) == {"query", "status"}
    cancelled, skipped = sql.job(job_id, cancel=True).json()["query"]["query"]
    assert set(cancelled) == {"query", "status", "started_at", "ended_at"}
    assert set(skipped) == {"query", "status"}


def test_a_body_of_more_than_16_kb_is_refused(sql: SQLClient) -> None:
    response = post(sql, {"query": "SELECT 1 --" + "x" * 16_384})
    assert response.status_code == 400
    assert error_of(response).startswith("Your payload is too large: 16407 bytes. Max size allowed is 16384 bytes")
    assert post(sql.with_key("wrong"), {"query": "x" * 16_384}).status_code == 400  # looked at before the key


def test_the_size_of_a_body_is_counted_in_characters(sql: SQLClient) -> None:
    assert post(sql, {"query": "SELECT 1 --" + "é" * 16_000}).status_code == 201
    assert post(sql, {"query": "SELECT 1 --" + "\U0001f600" * 8_200}).status_code == 400  # two each, for JavaScript


def keys(sql: SQLClient) -> Iterator[tuple[SQLClient, int, str]]:
    yield sql.with_key("wrong"), 401, "Unauthorized"
    yield sql.with_key(None), 403, "permission denied"
    yield sql.with_key("default_public"), 403, "permission denied"
    yield sql.regular("log"), 403, "permission denied"


def test_only_the_master_key_has_jobs(sql: SQLClient) -> None:
    job_id = sql.start_job("SELECT 1")["job_id"]
    for other, status, message in keys(sql):
        for response in (post(other, {"query": "SELECT 1"}), other.job(job_id), other.job(job_id, cancel=True)):
            assert (response.status_code, error_of(response)) == (status, message)


def test_batch_jobs_cannot_be_listed(sql: SQLClient) -> None:
    assert requests.get(f"{sql.url}/job", {"api_key": sql.key or ""}, timeout=10).status_code == 404


def post(sql: SQLClient, body: object) -> requests.Response:
    parameters = {} if sql.key is None else {"api_key": sql.key}
    return requests.post(f"{sql.url}/job", params=parameters, json=body, timeout=10)
