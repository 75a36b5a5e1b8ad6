from __future__ import annotations

import inspect
import json
import pickle

import pytest

from cartoframes_lite import errors

URL = "http://127.0.0.1:1/user/ann/api/v2/sql"


def response(**body: object) -> bytes:
    return json.dumps(body).encode()


def made(status: int, body: bytes, **keywords: object) -> errors.APIError:
    headers = keywords.pop("headers", {})
    return errors.error_from_response("POST", URL, status, headers, body, **keywords)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "detail", "expected"),
    [
        (200, None, errors.SQLError),
        (200, "datasource", errors.QueryTimeout),
        (302, None, errors.APIError),
        (400, None, errors.SQLError),
        (400, "Key (id)=(1) already exists.", errors.SQLError),
        (401, None, errors.AuthenticationError),
        (403, None, errors.PermissionDenied),
        (404, None, errors.NotFound),
        (409, None, errors.APIError),
        (429, None, errors.RateLimited),
        (429, "rate-limit", errors.RateLimited),
        (429, "datasource", errors.QueryTimeout),
        (400, "datasource", errors.QueryTimeout),
        (429, "render", errors.QueryTimeout),
        (500, None, errors.ServerError),
        (503, None, errors.ServerError),
    ],
)
def test_status_and_detail_decide_the_class(status: int, detail: str | None, expected: type[errors.APIError]) -> None:
    body = response(error=["no"]) if detail is None else response(error=["no"], detail=detail)
    assert type(made(status, body)) is expected


TIMED_OUT = (
    "You are over platform's limits: SQL query timeout error. Refactor your query before running again or contact"
    " CARTO support for more details."
)


@pytest.mark.parametrize("status", [200, 400, 429])
@pytest.mark.parametrize("message", [TIMED_OUT, "canceling statement due to statement timeout"])
def test_a_timeout_without_details_is_known_by_its_message(status: int, message: str) -> None:
    error = made(status, response(error=[message]))
    assert type(error) is errors.QueryTimeout
    assert error.detail == "datasource"


@pytest.mark.parametrize(
    "message",
    [
        f"column {TIMED_OUT}",
        "You are over platform's limits: SQL query timeout errors",
        "You are over platform's limits. Please contact us to know more details",
        'relation "SQL query timeout error" does not exist',
    ],
)
def test_other_messages_are_no_timeouts(message: str) -> None:
    assert type(made(200, response(error=[message]))) is errors.SQLError
    assert type(made(200, response(error=[TIMED_OUT, "another"]))) is errors.SQLError


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(
    "message",
    [
        "write ECONNRESET",
        "read ECONNRESET",
        "write EPIPE",
        "Connection terminated",
        "Connection terminated unexpectedly",
        "terminating connection due to administrator command",
        "terminating connection because of crash of another server process",
        "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally",
    ],
)
def test_a_lost_database_is_a_failure_of_the_connection(status: int, message: str) -> None:
    error = made(status, response(error=[message]))
    assert type(error) is errors.ConnectionFailed
    assert message in str(error)
    assert not error.nothing_done


@pytest.mark.parametrize(
    "message",
    [
        "the database system is starting up",
        "the database system is shutting down",
        "the database system is in recovery mode",
        "sorry, too many clients already",
        "remaining connection slots are reserved for non-replication superuser connections",
        "connect ECONNREFUSED 127.0.0.1:5432",
        "getaddrinfo ENOTFOUND db",
    ],
)
def test_a_database_that_takes_no_connection_has_done_nothing(message: str) -> None:
    error = made(400, response(error=[message]))
    assert type(error) is errors.ConnectionFailed
    assert error.nothing_done
    assert pickle.loads(pickle.dumps(error)).nothing_done
    assert not made(200, response(error=[message])).nothing_done  # behind rows that had come


@pytest.mark.parametrize(
    "message", ['column "Connection terminated" does not exist', "invalid ECONNRESET", "the database system is x"]
)
def test_other_messages_are_no_lost_databases(message: str) -> None:
    assert type(made(400, response(error=[message]))) is errors.SQLError


def test_the_message_does_not_decide_the_class() -> None:
    assert type(made(400, response(error=["permission denied; rate-limit; Unauthorized"]))) is errors.SQLError


def test_maps_api_errors_are_told_apart_by_subtype() -> None:
    body = response(errors=["over limits"], errors_with_context=[{"type": "limit", "subtype": "render"}])
    assert type(made(429, body)) is errors.QueryTimeout


def test_import_api_errors_are_readable() -> None:
    assert "imports: Unknown value" in str(made(400, response(errors={"imports": "Unknown value"})))


def test_attributes_of_api_errors() -> None:
    error = errors.error_from_response(
        "GET", "https://u:secret@h.org/api?q=1&api_key=secret", 400, {}, response(error=["bad"], hint="do", detail="d")
    )
    assert (error.status, error.method, error.url) == (400, "GET", "https://h.org/api")
    assert (error.detail, error.hint) == ("d", "do")
    assert "Hint: do" in str(error)
    assert "Detail: d" in str(error)
    assert "secret" not in str(error) + repr(error) + repr(vars(error))


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("", None), ("soon", None), ("-1", None), ("²", None), ("9" * 5000, 1e9)]
)
def test_retry_after_tolerates_garbage(value: str, seconds: float | None) -> None:
    assert made(429, response(error=["slow"]), headers={"retry-after": value}).retry_after_s == seconds


def test_every_api_error_can_be_asked_for_retry_after() -> None:
    assert made(400, response(error=["no"])).retry_after_s is None


def test_an_html_page_is_one_short_sentence() -> None:
    error = made(404, b"<!DOCTYPE html><html>" + b"x" * 10_000)
    assert len(str(error)) < 250
    assert "base_url" in str(error)


@pytest.mark.parametrize(
    "body", [b"", b"\xff\x00", b"[1]", b"null", b'{"rows": []}', b"{", b"[" * 99_999, b'{"error":' + b"9" * 5000]
)
def test_any_error_body_gives_an_api_error(body: bytes) -> None:
    assert made(502, body).status == 502


def test_unknown_user_keeps_the_text_of_the_server() -> None:
    said = "Sorry, we can't find CARTO user 'x'. Please check that you have entered the correct domain."
    assert said in str(made(404, response(error=[said])))


@pytest.mark.parametrize(("public", "word"), [(True, "default_public"), (False, "lacks a grant")])
def test_a_refusal_says_which_key(public: bool, word: str) -> None:
    assert word in str(made(403, response(error=["permission denied for table t"]), public_key=public))


@pytest.mark.parametrize(("public", "word"), [(True, "default_public"), (False, "does not know this API key")])
def test_unknown_and_missing_keys_have_different_messages(public: bool, word: str) -> None:
    assert word in str(made(401, response(errors=["unauthorized"]), public_key=public))


JSON = {"Content-Type": "application/json; charset=utf-8"}


@pytest.mark.parametrize(
    ("status", "body", "said", "advice"),
    [
        (401, b"", "the API key was rejected", "check the api_key"),
        (401, b"{}", "the API key was rejected", "check the api_key"),
        (403, b"", "permission denied", "belongs to another account"),
        (404, b"", "not found", "the requested name"),
        (
            404,
            b"No user with username 'x' in 'acme'",
            "No user with username 'x' in 'acme' (HTTP 404",
            "requested name",
        ),
        (404, response(errors="Visualization does not exist", errors_cause=None), "does not exist", "requested name"),
        (403, response(errors=["Privacy cannot be set to private"]), "Privacy cannot be set", "a feature or a quota"),
        (
            403,
            response(errors="Visualization not viewable", errors_cause="privacy_password"),
            "not viewable",
            "password",
        ),
        (410, b'["email is not present", "username"]', "email is not present; username (HTTP 410", ""),
        (400, response(errors=None), "no message (HTTP 400", ""),
    ],
)
def test_bodies_of_the_platform_apis(status: int, body: bytes, said: str, advice: str) -> None:
    message = str(made(status, body, headers=JSON))
    assert said in message
    assert advice in message
    assert "not from the API" not in message


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'"', b"[]", b"{broken"])
def test_other_bodies_are_no_messages(body: bytes) -> None:
    assert "(HTTP 502" in str(made(502, body, headers=JSON))


def test_text_of_another_type_is_no_message() -> None:
    assert "not from the API" in str(made(404, b"Not found", headers={"Content-Type": "text/plain"}))


def test_a_timeout_says_not_to_retry() -> None:
    assert "through the Batch API, which has a longer time limit: pass batch=True" in str(
        made(429, response(error=["timeout"], context="limit", detail="datasource"))
    )


@pytest.mark.parametrize(
    "error",
    [
        errors.CartoError("a"),
        errors.ConnectionFailed("a"),
        errors.ImportFailed("a", code=2003, source="user"),
        errors.JobTimeout("a", job={"job_id": "1"}),
        errors.RateLimited("a", status=429, method="GET", url=URL),
        errors.SQLError("a", status=400, method="GET", url=URL, detail="d", hint="h"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_can_be_pickled(error: errors.CartoError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.CredentialsError, ValueError),
        (errors.TableExistsError, ValueError),
        (errors.TableNotFoundError, LookupError),
        (errors.ConversionError, ValueError),
        (errors.ConnectionFailed, ConnectionError),
        (errors.JobTimeout, TimeoutError),
    ],
)
def test_builtin_parents_of_errors(cls: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(cls, builtin)
    assert issubclass(cls, errors.CartoError)


def test_the_tree_is_complete() -> None:
    classes = {
        name
        for name, item in vars(errors).items()
        if inspect.isclass(item) and issubclass(item, Exception) and item.__module__ == errors.__name__
    }
    assert classes == set(errors.__all__)
    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in classes)
