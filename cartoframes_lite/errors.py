"""Exceptions and warnings of the package, and the mapping of error responses to exceptions.

The class tree; ``*`` marks the classes that error responses are mapped to::

    Exception
    └── CartoError
        ├── CredentialsError      (also ValueError)       no usable credentials
        ├── TableExistsError      (also ValueError)       if_exists="fail" and the table exists
        ├── TableNotFoundError    (also LookupError)      no such table
        ├── TableChangedError                             another client changed the table at the same time
        ├── PrivacyNotSet                                 the rows were written, but the privacy was not set
        ├── ConversionError       (also ValueError)       a value or type cannot be converted
        ├── ConnectionFailed *    (also ConnectionError)  no response, an incomplete one, or not from the API
        │   └── PublishUnknown                            unknown whether a transaction was committed
        ├── ImportFailed                                  an import job failed
        ├── JobError                                      a remote job did not succeed
        │   └── JobTimeout        (also TimeoutError)     a remote job did not finish in time
        └── APIError *                                    the server rejected a request
            ├── SQLError *              400, or an error in the body of a response with status 200
            ├── AuthenticationError *   401
            ├── PermissionDenied *      403
            ├── NotFound *              404
            ├── RateLimited *           429
            ├── QueryTimeout *          429 with detail "datasource" or "render", or a known timeout message
            │   └── ResponseTimeout     (also ConnectionFailed, TimeoutError) timeout_s has passed
            └── ServerError *           5xx

    UserWarning
    └── CartoWarning
        ├── ConversionWarning           a value was converted with loss
        ├── IncompleteImportWarning     an import is complete, but did not do all that was requested
        ├── InsecureConnectionWarning   verify=False: the TLS certificate is not verified
        ├── NameTakenWarning            a dataset was renamed to another name, because the requested one was taken
        └── NonPublicAPIWarning         an API that CARTO does not document is used; once per API

All exceptions can be pickled, and none contains an API key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from cartoframes_lite import tracebacks

__all__ = [
    "APIError",
    "AuthenticationError",
    "CartoError",
    "CartoWarning",
    "ConnectionFailed",
    "ConversionError",
    "ConversionWarning",
    "CredentialsError",
    "ImportFailed",
    "IncompleteImportWarning",
    "InsecureConnectionWarning",
    "JobError",
    "JobTimeout",
    "NameTakenWarning",
    "NonPublicAPIWarning",
    "NotFound",
    "PermissionDenied",
    "PrivacyNotSet",
    "PublishUnknown",
    "QueryTimeout",
    "RateLimited",
    "ResponseTimeout",
    "SQLError",
    "ServerError",
    "TableChangedError",
    "TableExistsError",
    "TableNotFoundError",
]


def _restore(cls: type[CartoError], args: tuple[Any, ...], state: dict[str, Any]) -> CartoError:
    """Unpickle an exception without calling ``__init__``, because its keywords are attributes in `state`."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class CartoError(Exception):
    """Base class of the exceptions of this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints: it calls this method."""
        return tracebacks.render(self)


class CredentialsError(CartoError, ValueError):
    """Credentials are missing or invalid."""


class TableExistsError(CartoError, ValueError):
    """The table exists and ``if_exists="fail"``."""


class TableNotFoundError(CartoError, LookupError):
    """The table does not exist, or is not visible to the API key in use."""


class TableChangedError(CartoError):
    """Another client changed the table while it was read in partitions, or while a write was running."""


class PrivacyNotSet(CartoError):
    """The rows were written, but the privacy of the table could not be set."""


class ConversionError(CartoError, ValueError):
    """A column or value cannot be converted; nothing was written."""


class ConnectionFailed(CartoError, ConnectionError):
    """There was no response, it was incomplete, or it did not come from the API.

    Attributes
    ----------
    nothing_done : bool
        True if the server has certainly not executed the request, so that it is safe to send it again: the server
        could not be reached, or could not connect to its database. False if that is unknown.
    """

    nothing_done: bool = False


class PublishUnknown(ConnectionFailed):
    """The response to a transaction was lost, and it is unknown whether the transaction was committed."""


class ImportFailed(CartoError):
    """An import job failed.

    Parameters
    ----------
    message : str
        What happened and what to do.
    code : int, optional
        CARTO's error code, e.g. 2003 for a malformed CSV.
    title, what_about : str, optional
        CARTO's title and explanation of the code.
    source : str, optional
        Who can fix the problem: "user", "cartodb" or "external".
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        title: str | None = None,
        what_about: str | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.title = title
        self.what_about = what_about
        self.source = source


class JobError(CartoError):
    """A remote job failed, was canceled, or is in an unknown state.

    Parameters
    ----------
    message : str
        What happened and what to do.
    job : mapping, optional
        The job as returned by the last request.
    """

    def __init__(self, message: str, *, job: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.job = job


class JobTimeout(JobError, TimeoutError):
    """The job did not finish in time; it may still be running on the server."""


class APIError(CartoError):
    """The server rejected a request.

    Parameters
    ----------
    message : str
        The server's message and what to do about it.
    status : int
        HTTP status; 200 if the error is in the body of a response that began as a success.
    method : str
        HTTP method.
    url : str
        URL of the request. User, password, query and fragment are removed.
    detail : str, optional
        PostgreSQL's detail, the limit that was exceeded ("rate-limit", "datasource"), or the cause of a denial
        ("privacy_password").
    hint : str, optional
        PostgreSQL's hint, or another way to solve the problem.

    Attributes
    ----------
    retry_after_s : float or None
        Time after which the server accepts the next request, in seconds, if the response contains it.
    contexts : tuple of dict
        Causes of an error of the Maps API: each with ``type``, ``message`` and ``layer`` (with ``id`` and ``index``),
        as far as the response contains them.
    """

    retry_after_s: float | None = None
    contexts: tuple[dict[str, Any], ...] = ()

    def __init__(
        self,
        message: str,
        *,
        status: int,
        method: str,
        url: str,
        detail: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.method = method
        self.url = bare_url(url)
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.hint is None else f"{message}\nHint: {self.hint}"


class SQLError(APIError):
    """PostgreSQL rejected the query, or the SQL API a parameter."""


class AuthenticationError(APIError):
    """The API key is invalid."""


class PermissionDenied(APIError):
    """The API key is valid, but lacks a permission."""


class NotFound(APIError):
    """The user, path, visualization or template does not exist."""


class RateLimited(APIError):
    """Too many requests of this kind in a short time, even after retries."""


class QueryTimeout(APIError):
    """The query ran longer than the account allows; a retry would fail as well."""


class ResponseTimeout(ConnectionFailed, QueryTimeout, TimeoutError):
    """``timeout_s`` passed without a response to an SQL statement, or without its next rows.

    The statement was not sent again, and may still be running on the server.

    Parameters
    ----------
    message : str
    timeout_s : float
        The timeout that has passed, in seconds.
    method, url : str
        As in ``APIError``. ``status`` is 0, since there is no complete response.
    """

    def __init__(self, message: str, *, timeout_s: float, method: str, url: str) -> None:
        super().__init__(message, status=0, method=method, url=url)
        self.timeout_s = timeout_s


class ServerError(APIError):
    """The server, or a proxy in front of it, failed."""


class CartoWarning(UserWarning):
    """Base class of the warnings of this package."""


class ConversionWarning(CartoWarning):
    """A value was converted with loss, or the table differs from what the frame seems to mean."""


class IncompleteImportWarning(CartoWarning):
    """An import is complete, but did not do all that was requested: a file of an archive failed, for example."""


class InsecureConnectionWarning(CartoWarning):
    """``verify=False``: an attacker on the network can read the key and change the data."""


class NameTakenWarning(CartoWarning):
    """CARTO renamed a dataset to a numbered name, because the requested one was taken. The message contains it."""


class NonPublicAPIWarning(CartoWarning):
    """An API that CARTO does not document is used; it may change without notice.

    Not given for servers on loopback, such as the embedded one.
    """


# Exception class by (status, detail). Status 200: an error in the body of a response that began as a success.
_CLASSES: dict[tuple[int, str | None], type[APIError]] = {
    (200, None): SQLError,
    (200, "datasource"): QueryTimeout,
    (400, None): SQLError,
    (400, "datasource"): QueryTimeout,
    (401, None): AuthenticationError,
    (403, None): PermissionDenied,
    (404, None): NotFound,
    (429, None): RateLimited,
    (429, "datasource"): QueryTimeout,
    (429, "render"): QueryTimeout,
}

# Only where status and detail are ambiguous is the class derived from the message. After the first row the SQL API
# sends only the message of an error, without the detail "datasource".
_TIMEOUT_MESSAGES = frozenset(
    {
        "You are over platform's limits: SQL query timeout error",
        "canceling statement due to statement timeout",
    }
)
# When the SQL API loses its database connection, it responds with status 400 and a message of Node.js or PostgreSQL.
_LOST_DATABASE = re.compile(
    r"(?:read|write) (?:ECONNRESET|EPIPE|ETIMEDOUT|ECONNABORTED)"
    r"|Connection terminated(?: unexpectedly| by user| due to connection timeout)?"
    r"|This socket has been ended by the other party"
    r"|Client (?:was closed|has encountered a connection error) and is not queryable"
    r"|terminating connection (?:due to|because of) [a-z -]+"
    r"|server closed the connection unexpectedly(?:\s.*)?"
    r"|server conn crashed\?"
    r"|SSL connection has been closed unexpectedly",
    re.DOTALL,
)
# As above, for failures before the statement was sent to the database: nothing was executed.
_NO_DATABASE = re.compile(
    r"connect (?:ECONNREFUSED|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOENT|EAGAIN)(?: .*)?"
    r"|getaddrinfo (?:ENOTFOUND|EAI_AGAIN)(?: .*)?"
    r"|the database system is (?:starting up|shutting down|in recovery mode|not(?: yet)? accepting connections)"
    r"|sorry, too many clients already"
    r"|remaining connection slots are reserved for .*"
    r"|too many connections for (?:role|database) .*"
    r"|no more connections allowed(?: .*)?"
    r"|pgbouncer cannot connect to server|query_wait_timeout|server login failed.*",
    re.DOTALL,
)

_ADVICE: dict[type[APIError], str] = {
    AuthenticationError: "The server does not know this API key: check the api_key of Credentials.",
    NotFound: "Check the username and base_url of Credentials, and the requested name.",
    RateLimited: "Too many requests of this kind: wait, or send fewer and larger ones.",
    QueryTimeout: (
        "A retry will not help: split the query into smaller ones, or run it through the Batch API, which has a longer "
        "time limit: pass batch=True to read_carto or execute."
    ),
    ServerError: "The server failed: try again later; if the error persists, contact the operator of the server.",
}
_DENIED = (
    "The API key in use lacks a grant for this: pass Credentials with a key that has it. If it is the master key, the "
    "object belongs to another account or to the server."
)
_DENIED_BY_PLATFORM = (
    "The object belongs to another account, or the account lacks a role, a feature or a quota that this requires."
)
_DENIED_PASSWORD = (
    "It is protected by a password: use the master key of its owner, or ask the owner for another privacy."
)
_DENIED_PUBLIC = "The key in use is default_public: pass Credentials with an api_key that has grants."
_NOT_THE_API = "the response is not from the API ({what}): check base_url and username of Credentials"


_EMPTY_BODIES = {401: "the API key was rejected", 403: "permission denied", 404: "not found"}
_MAX_TEXT = 500

_MAX_RETRY_AFTER_S = 1e9  # about 30 years: larger values overflow the timers of some systems


def bare_url(url: str) -> str:
    """Remove user, password, query and fragment from a URL, because they may contain a key."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else parts.path


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header; None if it is missing, a date, or invalid."""
    value = next((v for name, v in headers.items() if name.lower() == "retry-after"), "").strip()
    # Dates are ignored: the clocks of server and client may differ by more than the wait.
    return min(float(value), _MAX_RETRY_AFTER_S) if value.isascii() and value.isdigit() else None


def decode_error(body: bytes) -> dict[str, Any] | None:
    """Decode the error object in the body of a response; None if there is none."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):  # RecursionError: nested more deeply than any response of the API
        return None
    return payload if isinstance(payload, dict) and ("error" in payload or "errors" in payload) else None


def error_detail(payload: Mapping[str, Any]) -> str | None:
    """Return the detail that distinguishes errors with the same status.

    This is the member `detail` or `errors_cause`, or the subtype of a Maps API error, or "datasource" for the message
    of a statement timeout that has no detail because it occurred after the first row.
    """
    detail = payload.get("detail")
    if detail is None and _message(payload).partition(".")[0] in _TIMEOUT_MESSAGES:
        detail = "datasource"
    if detail is None:
        detail = payload.get("errors_cause")
    if detail is None:
        contexts = payload.get("errors_with_context")
        if isinstance(contexts, list) and contexts and isinstance(contexts[0], dict):
            detail = contexts[0].get("subtype")
    return None if detail is None else _join_messages(detail)


def _contexts(payload: Mapping[str, Any] | None) -> tuple[dict[str, Any], ...]:
    """Return the causes in an error of the Maps API."""
    causes = payload.get("errors_with_context") if payload else None
    return tuple(dict(cause) for cause in causes if isinstance(cause, Mapping)) if isinstance(causes, list) else ()


def _message(payload: Mapping[str, Any]) -> str:
    """Return the message of an error of the SQL API, or "" unless there is exactly one."""
    message = payload.get("error")
    if isinstance(message, list) and len(message) == 1:
        (message,) = message
    return message if isinstance(message, str) else ""


def _lost_database(method: str, url: str, status: int, payload: Mapping[str, Any]) -> ConnectionFailed | None:
    """Return ConnectionFailed if the server lost its database connection, None for other errors."""
    message = _message(payload)
    nothing_done = _NO_DATABASE.fullmatch(message) is not None
    if not nothing_done and _LOST_DATABASE.fullmatch(message) is None:
        return None
    failed = ConnectionFailed(
        f"the server has no connection to its database: {message} (HTTP {status}, {method} {bare_url(url)})"
    )
    # Status 200: rows were sent before the error, so the statement was running.
    failed.nothing_done = nothing_done and status != 200
    return failed


def _join_messages(value: object, depth: int = 5) -> str:
    """Join the messages of an error object of any shape, up to a nesting depth."""
    if depth == 0:
        return "..."
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_join_messages(item, depth - 1)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(_join_messages(item, depth - 1) for item in value)
    return str(value)


def _describe_body(status: int, body: bytes) -> str:
    """Describe a response body that is not an error object."""
    start = body[:200].decode("utf-8", errors="replace").strip()
    if start[:1] == "<":
        return _NOT_THE_API.format(what="an HTML page")
    if start in ("", "{}") and status in _EMPTY_BODIES:
        return _EMPTY_BODIES[status]
    if not start:
        # CARTO sends these statuses with an empty body if URL and headers together exceed 8 KB.
        return "URL and headers are too long" if status in (414, 431) else "the response is empty"
    return _NOT_THE_API.format(what=f"it begins with {start[:60]!r}")


def _text_of(payload: Mapping[str, Any]) -> str:
    """Return the messages of an error object; "" if there are none, as in ``{"errors": null}``."""
    messages = payload.get("error", payload.get("errors"))
    return "" if messages is None else _join_messages(messages)


def _bare_text(headers: Mapping[str, str], body: bytes) -> str | None:
    """Return a message that is sent as bare text of type JSON or as a list of texts; None for other bodies."""
    content_type = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    start = body[:_MAX_TEXT].decode("utf-8", errors="replace").strip()
    if not content_type.startswith("application/json") or start[:1] in ("", "<", "{"):
        return None
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        return None if start[0] == "[" else start
    if isinstance(sent, list) and sent and all(isinstance(item, str) for item in sent):
        return "; ".join(sent)
    return sent if isinstance(sent, str) else None


def _advice(
    cls: type[APIError], payload: Mapping[str, Any] | None, body: bytes, *, has_text: bool, public_key: bool
) -> str | None:
    """Return what the user can do about an error; None if that is unknown.

    Parameters
    ----------
    cls : type
        Class of the exception.
    payload, body
        Error object, if any, and body of the response.
    has_text : bool
        Whether the body contains a message.
    public_key : bool
        Whether the request used default_public.
    """
    is_from_api = has_text or body.strip() in (b"", b"{}")
    if payload and payload.get("errors_cause") == "privacy_password":
        return _DENIED_PASSWORD
    if public_key and cls in (PermissionDenied, AuthenticationError):
        return _DENIED_PUBLIC
    if cls is PermissionDenied:
        is_platform = is_from_api if payload is None else "errors" in payload and "errors_with_context" not in payload
        return _DENIED_BY_PLATFORM if is_platform else _DENIED
    if cls is NotFound and (_contexts(payload) or not is_from_api):
        return None
    return _ADVICE.get(cls)


def error_class(status: int, detail: str | None) -> type[APIError]:
    """Return the exception class for a status and detail."""
    cls = _CLASSES.get((status, detail)) or _CLASSES.get((status, None))
    return cls or (ServerError if status >= 500 else APIError)


def error_from_response(
    method: str,
    url: str,
    status: int,
    headers: Mapping[str, str],
    body_bytes: bytes,
    *,
    public_key: bool = False,
) -> APIError | ConnectionFailed:
    """Compose the exception for an error response.

    Parameters
    ----------
    method, url : str
        Method and URL of the request; user and query are removed from the URL.
    status : int
        HTTP status; 200 for an error object in the body of a response that began as a success.
    headers : Mapping
        Headers of the response.
    body_bytes : bytes
        Body of the response: an error object of any of CARTO's APIs, or anything else.
    public_key : bool, default False
        Whether the request used default_public, which the message then mentions.

    Returns
    -------
    APIError or ConnectionFailed
        Class according to status and detail; ConnectionFailed if the server lost its database connection.
    """
    payload = decode_error(body_bytes)
    if payload and (lost := _lost_database(method, url, status, payload)):
        return lost
    detail = error_detail(payload) if payload else None
    hint = _join_messages(payload["hint"]) if payload and payload.get("hint") is not None else None
    cls = error_class(status, detail)
    text = _text_of(payload) if payload else _bare_text(headers, body_bytes)
    message = _describe_body(status, body_bytes) if text is None else text
    lines = [f"{message or 'no message'} (HTTP {status}, {method} {bare_url(url)})"]
    if detail is not None and payload and "context" not in payload and "detail" in payload:
        lines.append(f"Detail: {detail}")
    if advice := _advice(cls, payload, body_bytes, has_text=text is not None, public_key=public_key):
        lines.append(advice)
    error = cls("\n".join(lines), status=status, method=method, url=url, detail=detail, hint=hint)
    error.retry_after_s = retry_after_s(headers)
    error.contexts = _contexts(payload)
    return error
