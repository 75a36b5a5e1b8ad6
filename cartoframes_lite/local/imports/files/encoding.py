"""The encoding of a text file, and the file in UTF-8."""

from __future__ import annotations

import codecs
from pathlib import Path

from charset_normalizer import from_bytes

from cartoframes_lite.local.imports.files.encoding_detection import likely_encodings
from cartoframes_lite.local.imports.files.error_codes import ImportRefused

_BLOCK = 1 << 20
_SAMPLE = 1 << 18
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as the one of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Characters of two bytes and more, which letters of other encodings seldom happen to be.
_EAST_ASIAN = ["shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"]
_USUAL = "cp1252"
_CHAOS = 0.1  # of what is no text, more than of what is


def as_utf8(path: Path, target: Path) -> Path:
    """Return the file if it is UTF-8 without a byte order mark, else write it so.

    Parameters
    ----------
    path : Path
    target : Path
        Where to write; need not exist.

    Raises
    ------
    ImportRefused
        2002 if the encoding cannot be found out, 2003 if there are NUL characters, as only binary files have them.
    """
    encoding = _encoding(path)
    if encoding == "utf-8":
        return path
    try:
        with path.open(encoding=encoding, newline="") as source, target.open("w", encoding="utf-8", newline="") as copy:
            while text := source.read(_BLOCK):
                if "\0" in text:
                    raise ImportRefused(2003, "NUL characters in the text")
                copy.write(text)
    except UnicodeError:
        raise ImportRefused(2002, f"not all of the text is {encoding}") from None
    return target


def _encoding(path: Path) -> str:
    """Find the encoding out: UTF-8 if the whole file is, else what a sample looks like."""
    with path.open("rb") as file:
        head = file.read(4)
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding
    foreign_at = _first_foreign(path)
    if foreign_at is None:
        return "utf-8"
    with path.open("rb") as file:
        file.seek(max(0, foreign_at - _SAMPLE // 2))
        sample = file.read(_SAMPLE)
    # Of lines without any letter beyond ASCII nothing can be learnt.
    telling = b"\n".join(line for line in sample.splitlines() if not line.isascii())
    if b"\0" in sample:
        raise ImportRefused(2003, "NUL characters in the text")
    found = likely_encodings(telling) or _east_asian(telling)
    # A word or two may be of several languages; what most files have is taken, if it is also the most likely.
    if len(found) != 1 and found[:1] != [_USUAL]:
        raise ImportRefused(2002, f"it may be any of {', '.join(found)}: save it as UTF-8" if found else "")
    return found[0]


def _east_asian(sample: bytes) -> list[str]:
    """Return the encodings of eastern Asia in which bytes are text, one of each that make the same text."""
    matches = list(from_bytes(sample, cp_isolation=_EAST_ASIAN))
    least = min((match.chaos for match in matches), default=0.0)
    return [match.encoding for match in matches if match.chaos < least + _CHAOS]


def _first_foreign(path: Path) -> int | None:
    """Return the place of the first block that is not UTF-8, None if there is none; NULs are refused."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    with path.open("rb") as file:
        while True:
            block = file.read(_BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return read + max(0, error.start)
            if "\0" in text:
                raise ImportRefused(2003, "NUL characters in the text")
            if not block:
                return None
            read += len(block)
