"""Every exception and warning of the package, and the table that gives an answer its class.

The tree, ``*`` marks the classes that an answer of the server becomes::

    Exception
    └── CartoError
        ├── CredentialsError      (also ValueError)       no usable credentials
        ├── TableExistsError      (also ValueError)       if_exists="fail" and it does
        ├── TableNotFoundError    (also LookupError)      no such table
        ├── TableChangedError                             somebody else changed the table meanwhile
        ├── PrivacyNotSet                                 ... but the rows were written
        ├── ConversionError       (also ValueError)       a value or type has no counterpart
        ├── ConnectionFailed *    (also ConnectionError)  no answer, not all of it, or not one of the API
        │   └── PublishUnknown                            ... when a write was published: it says how to find out
        ├── ImportFailed                                  an import job ended in failure
        ├── JobError                                      a remote job did not succeed
        │   └── JobTimeout        (also TimeoutError)     it was not waited for any longer
        └── APIError *                                    the server refused
            ├── SQLError *              400, or an error inside an answer with status 200
            ├── AuthenticationError *   401
            ├── PermissionDenied *      403
            ├── NotFound *              404
            ├── RateLimited *           429
            ├── QueryTimeout *          429 with detail "datasource" or "render", or its message without a detail
            └── ServerError *           5xx

    UserWarning
    └── CartoWarning
        ├── ConversionWarning           a value could not be kept exactly
        ├── InsecureConnectionWarning   verify=False: a TLS certificate is not verified
        └── NonPublicAPIWarning         an API that CARTO does not document; once for each

All of them can be pickled, and none holds an API key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

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
    "InsecureConnectionWarning",
    "JobError",
    "JobTimeout",
    "NonPublicAPIWarning",
    "NotFound",
    "PermissionDenied",
    "PrivacyNotSet",
    "PublishUnknown",
    "QueryTimeout",
    "RateLimited",
    "SQLError",
    "ServerError",
    "TableChangedError",
    "TableExistsError",
    "TableNotFoundError",
]


def _restore(cls: type[CartoError], args: tuple[Any, ...], state: dict[str, Any]) -> CartoError:
    """Rebuild a pickled exception without calling ``__init__``, whose keywords are in `state`."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class CartoError(Exception):
    """Anything that this package raises on its own account."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


class CredentialsError(CartoError, ValueError):
    """There are no credentials, or they are not usable as they are."""


class TableExistsError(CartoError, ValueError):
    """The table exists and ``if_exists="fail"``."""


class TableNotFoundError(CartoError, LookupError):
    """The table does not exist, or the key in use may not know of it."""


class TableChangedError(CartoError):
    """The table was changed while its parts were read one by one, or between the plan of a write and its end."""


class PrivacyNotSet(CartoError):
    """The rows were written, and the privacy of their table could not be set."""


class ConversionError(CartoError, ValueError):
    """A column or value cannot be turned into its counterpart; nothing was written."""


class ConnectionFailed(CartoError, ConnectionError):
    """There was no answer, it ended before it was complete, or it is not one of the API.

    Attributes
    ----------
    nothing_done : bool
        True if the server has certainly done nothing, so that any request may be sent again: there was no connection,
        or the database took none. False if that is not known.
    """

    nothing_done: bool = False


class PublishUnknown(ConnectionFailed):
    """The answer of a transaction was lost, and the server does not say whether it happened."""


class ImportFailed(CartoError):
    """An import job ended in failure.

    Parameters
    ----------
    message : str
        What happened and what to do.
    code : int, optional
        CARTO's error code, 2003 for a malformed CSV for example.
    title, what_about : str, optional
        CARTO's own words about the code.
    source : str, optional
        Who can mend it: "user", "cartodb" or "external".
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
    """A remote job failed, was cancelled, or is in an unknown state.

    Parameters
    ----------
    message : str
        What happened and what to do.
    job : dict, optional
        The job as the server described it last.
    """

    def __init__(self, message: str, *, job: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.job = job


class JobTimeout(JobError, TimeoutError):
    """The job was not done in time; it may still be running on the server."""


class APIError(CartoError):
    """The server refused a request.

    Parameters
    ----------
    message : str
        The server's message and what to do about it.
    status : int
        HTTP status; 200 if the error came inside an answer that had begun well.
    method : str
        HTTP method.
    url : str
        Address without user, key and query.
    detail : str, optional
        PostgreSQL's detail, or the limit that was hit ("rate-limit", "datasource").
    hint : str, optional
        PostgreSQL's hint, or what else may help.

    Attributes
    ----------
    retry_after_s : float or None
        Seconds after which the server will accept the next request, if it said so.
    contexts : tuple of dict
        Of an error of the Maps API: for each cause its ``type``, ``message``, and the ``layer`` with its ``id`` and
        ``index``, as far as the server tells.
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
    """PostgreSQL, or the check of a parameter, refused the request."""


class AuthenticationError(APIError):
    """The server does not know the API key."""


class PermissionDenied(APIError):
    """The API key is known, but may not do this."""


class NotFound(APIError):
    """No such user, path, visualization or template."""


class RateLimited(APIError):
    """Too many requests of this kind in a short time, even after waiting."""


class QueryTimeout(APIError):
    """The query ran longer than the account allows; trying it again is no use."""


class ServerError(APIError):
    """The server, or a proxy before it, failed."""


class CartoWarning(UserWarning):
    """Any warning of this package."""


class ConversionWarning(CartoWarning):
    """A value could not be kept exactly."""


class InsecureConnectionWarning(CartoWarning):
    """``verify=False``: whoever is between this host and the server can read the key and change the data."""


class NonPublicAPIWarning(CartoWarning):
    """An API that CARTO does not document is in use; it may change without notice."""


# (status, detail) decides. 200 stands for an error in a body that began well.
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

# The only messages that decide: those of failures for which the server gives nothing else to go by.
# After the first row the SQL API keeps of an error its message alone, so that the detail "datasource" is missing.
_TIMEOUT_MESSAGES = frozenset(
    {
        "You are over platform's limits: SQL query timeout error",
        "canceling statement due to statement timeout",
    }
)
# The SQL API answers with status 400 when it loses its database, in the words of node or of PostgreSQL.
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
# As above, but said before the statement was given to the database: it has done nothing.
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
    NotFound: "Check the username and base_url of Credentials, and the name that was asked for.",
    RateLimited: "Too many requests of this kind: wait, or send fewer and larger ones.",
    QueryTimeout: (
        "Sending it again will not help: make the query smaller, or run it through the Batch API "
        "(Client.batch), which has a longer limit."
    ),
    ServerError: "The server failed: try again later; if it persists, tell the server's operator.",
}
_DENIED = (
    "The API key in use lacks a grant for this: pass Credentials with a key that has it. If it is the master key, this "
    "belongs to another account or to the server."
)
_DENIED_PUBLIC = "The key in use is default_public: pass Credentials with an api_key that has grants."
_NOT_THE_API = "the answer is not from the API ({what}): check base_url and username of Credentials"


_LONGEST_WAIT_S = 1e9  # some 30 years: a longer one means the same, and the clocks of some systems cannot hold it


def bare_url(url: str) -> str:
    """`url` without user, password, query and fragment, which may hold a key."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else parts.path


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header Retry-After asks for; None if it is missing, a date, or garbage."""
    value = next((v for name, v in headers.items() if name.lower() == "retry-after"), "").strip()
    # A date is as good as missing: the two clocks may differ by more than the wait.
    return min(float(value), _LONGEST_WAIT_S) if value.isascii() and value.isdigit() else None


def decode_error(body: bytes) -> dict[str, Any] | None:
    """Decode the error object of an answer; None if there is none in it."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):  # of an answer that is nested more deeply than any of the API's
        return None
    return answer if isinstance(answer, dict) and ("error" in answer or "errors" in answer) else None


def error_detail(answer: Mapping[str, Any]) -> str | None:
    """Return what tells two errors of one status apart.

    That is `detail`, or the subtype of a Maps API error; of a statement timeout after the first row, what `detail` is
    before it.
    """
    detail = answer.get("detail")
    if detail is None and _message(answer).partition(".")[0] in _TIMEOUT_MESSAGES:
        detail = "datasource"
    if detail is None:
        contexts = answer.get("errors_with_context")
        if isinstance(contexts, list) and contexts and isinstance(contexts[0], dict):
            detail = contexts[0].get("subtype")
    return None if detail is None else _sentences(detail)


def _contexts(answer: Mapping[str, Any] | None) -> tuple[dict[str, Any], ...]:
    """Return the causes that an error of the Maps API tells."""
    told = answer.get("errors_with_context") if answer else None
    return tuple(dict(cause) for cause in told if isinstance(cause, Mapping)) if isinstance(told, list) else ()


def _message(answer: Mapping[str, Any]) -> str:
    """Return the only message of an error of the SQL API, else nothing."""
    told = answer.get("error")
    if isinstance(told, list) and len(told) == 1:
        (told,) = told
    return told if isinstance(told, str) else ""


def _lost_database(method: str, url: str, status: int, answer: Mapping[str, Any]) -> ConnectionFailed | None:
    """Return the error for a server that has lost its database; None for any other."""
    message = _message(answer)
    nothing_done = _NO_DATABASE.fullmatch(message) is not None
    if not nothing_done and _LOST_DATABASE.fullmatch(message) is None:
        return None
    failed = ConnectionFailed(
        f"the server has no connection to its database: {message} (HTTP {status}, {method} {bare_url(url)})"
    )
    # Behind the first rows of an answer the statement was at work.
    failed.nothing_done = nothing_done and status != 200
    return failed


def _sentences(value: object, depth: int = 5) -> str:
    """Join the messages of an error object, whatever shape it has, down to some depth."""
    if depth == 0:
        return "..."
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_sentences(item, depth - 1)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(_sentences(item, depth - 1) for item in value)
    return str(value)


def _unknown_body(status: int, body: bytes) -> str:
    """Describe a body that is not an error object in one short sentence."""
    start = body[:200].decode("utf-8", errors="replace").strip()
    if start[:1] == "<":
        return _NOT_THE_API.format(what="an HTML page")
    if not start:
        # The real server answers so when URL and headers together exceed 8 KB.
        return "URL and headers are too long" if status in (414, 431) else "the answer is empty"
    return _NOT_THE_API.format(what=f"it begins {start[:60]!r}")


def error_class(status: int, detail: str | None) -> type[APIError]:
    """Return the class for a status and detail."""
    known = _CLASSES.get((status, detail)) or _CLASSES.get((status, None))
    return known or (ServerError if status >= 500 else APIError)


def error_from_response(
    method: str,
    url: str,
    status: int,
    headers: Mapping[str, str],
    body_bytes: bytes,
    *,
    public_key: bool = False,
) -> APIError | ConnectionFailed:
    """Make the exception for an answer that tells of an error.

    Parameters
    ----------
    method, url : str
        The request; user and query are taken off the URL.
    status : int
        HTTP status, 200 for an error object inside a good answer.
    headers : Mapping
        Of the answer.
    body_bytes : bytes
        Of the answer: an error object of any of CARTO's APIs, or anything else.
    public_key : bool, default False
        The request was sent with default_public, which a refusal then mentions.

    Returns
    -------
    APIError or ConnectionFailed
        Of the class that status and detail name; ConnectionFailed if the server has lost its database.
    """
    answer = decode_error(body_bytes)
    if answer and (lost := _lost_database(method, url, status, answer)):
        return lost
    detail = error_detail(answer) if answer else None
    hint = _sentences(answer["hint"]) if answer and answer.get("hint") is not None else None
    cls = error_class(status, detail)
    said = _sentences(answer.get("error", answer.get("errors"))) if answer else _unknown_body(status, body_bytes)
    lines = [f"{said or 'no message'} (HTTP {status}, {method} {bare_url(url)})"]
    if detail is not None and answer and "context" not in answer and "detail" in answer:
        lines.append(f"Detail: {detail}")
    if public_key and cls in (PermissionDenied, AuthenticationError):
        lines.append(_DENIED_PUBLIC)
    elif cls is PermissionDenied:
        lines.append(_DENIED)
    elif cls in _ADVICE and not (cls is NotFound and (answer is None or _contexts(answer))):
        lines.append(_ADVICE[cls])
    error = cls("\n".join(lines), status=status, method=method, url=url, detail=detail, hint=hint)
    error.retry_after_s = retry_after_s(headers)
    error.contexts = _contexts(answer)
    return error
