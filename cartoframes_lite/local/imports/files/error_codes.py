"""Error codes of the Import API and the exception with such a code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cartoframes_lite.local.imports.files.error_texts import TEXTS

UNKNOWN = 99999
_SERVER_ERRORS = frozenset({1, 1000, 6667, 6671, UNKNOWN})
_EXTERNAL_ERRORS = frozenset({1009, 1012})


@dataclass(frozen=True, slots=True)
class Code:
    """Description of an error code.

    Attributes
    ----------
    title, what_about : str
        CARTO's title and advice; the advice may contain HTML.
    source : {"user", "cartodb", "external"}
        Origin of the error.
    """

    title: str
    what_about: str
    source: Literal["user", "cartodb", "external"]


class ImportJobError(Exception):
    """An import failed.

    Parameters
    ----------
    code : int
        One of `CODES`.
    detail : str, optional
        Details in one line, without paths of the server.
    """

    def __init__(self, code: int, detail: str = "") -> None:
        super().__init__(f"{code} {CODES[code].title}{': ' if detail else ''}{detail}")
        self.code, self.detail = code, detail


def _code(number: int, title: str, what_about: str) -> Code:
    if number in _SERVER_ERRORS:
        return Code(title, what_about, "cartodb")
    return Code(title, what_about, "external" if number in _EXTERNAL_ERRORS else "user")


CODES: dict[int, Code] = {number: _code(number, *texts) for number, texts in TEXTS.items()}
