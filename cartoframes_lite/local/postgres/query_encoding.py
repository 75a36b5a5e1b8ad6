"""Encoding of query strings for libpq."""

from __future__ import annotations

import re

from cartoframes_lite.local.postgres.errors import SQLError

_PROTOCOL_VIOLATION, _TOO_COMPLEX = "08P01", "54001"  # SQLSTATE
# PostgreSQL's lexer takes quadratic time for a long run of operator characters with comments, and cannot be canceled.
_OPERATORS = re.compile(r"[-+*/<>=~!@#%^&|`?]{2000,}+")


def encode_query(query: str) -> bytes:
    """Encode statements as UTF-8; raise SQLError for NUL, where libpq would truncate, and for costly comments."""
    if "\0" in query:
        raise SQLError("invalid message format", sqlstate=_PROTOCOL_VIOLATION)
    if any("/*" in run[0] for run in _OPERATORS.finditer(query)):
        raise SQLError("the query has too many comments without whitespace between them", sqlstate=_TOO_COMPLEX)
    try:
        return query.encode()
    except UnicodeEncodeError:  # lone surrogates are replaced, as by Node.js
        return query.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
