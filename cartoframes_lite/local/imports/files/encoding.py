"""Detect the encoding of text files and convert them to UTF-8."""

from __future__ import annotations

import codecs
from pathlib import Path

from charset_normalizer import from_bytes

from cartoframes_lite.local.imports.files.encoding_detection import likely_encodings
from cartoframes_lite.local.imports.files.error_codes import ImportJobError

_BLOCK = 1 << 20
_SAMPLE = 1 << 18
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: begins with the same bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Multi-byte encodings; text in 8-bit encodings is rarely valid in them.
_EAST_ASIAN = ["shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"]
_USUAL = "cp1252"
_CHAOS_MARGIN = 0.1  # tolerated difference of charset-normalizer's chaos from the best match


def as_utf8(path: Path, target: Path) -> Path:
    """Return the path if the file is UTF-8 without a byte order mark, else write a converted copy.

    Parameters
    ----------
    path : Path
    target : Path
        Path of the copy.

    Raises
    ------
    ImportJobError
        2002 if the encoding cannot be determined, 2003 if the text contains NUL characters.
    """
    encoding = _encoding(path)
    if encoding == "utf-8":
        return path
    try:
        with path.open(encoding=encoding, newline="") as source, target.open("w", encoding="utf-8", newline="") as copy:
            while text := source.read(_BLOCK):
                if "\0" in text:
                    raise ImportJobError(2003, "NUL characters in the text")
                copy.write(text)
    except UnicodeError:
        raise ImportJobError(2002, f"the text is not valid {encoding}") from None
    return target


def _encoding(path: Path) -> str:
    """Return the encoding: UTF-8 if the whole file is valid, else the result of detection on a sample."""
    with path.open("rb") as file:
        head = file.read(4)
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding
    invalid_at = _first_invalid_utf8(path)
    if invalid_at is None:
        return "utf-8"
    with path.open("rb") as file:
        file.seek(max(0, invalid_at - _SAMPLE // 2))
        sample = file.read(_SAMPLE)
    # ASCII lines do not help to distinguish encodings.
    non_ascii_lines = b"\n".join(line for line in sample.splitlines() if not line.isascii())
    if b"\0" in sample:
        raise ImportJobError(2003, "NUL characters in the text")
    found = likely_encodings(non_ascii_lines) or _east_asian(non_ascii_lines)
    # A few words are often ambiguous: accept the most common encoding if it is also the most likely.
    if len(found) != 1 and found[:1] != [_USUAL]:
        raise ImportJobError(2002, f"could be any of {', '.join(found)}: save the file as UTF-8" if found else "")
    return found[0]


def _east_asian(sample: bytes) -> list[str]:
    """Return the plausible East Asian encodings of a sample; of encodings with the same text, one."""
    matches = list(from_bytes(sample, cp_isolation=_EAST_ASIAN))
    min_chaos = min((match.chaos for match in matches), default=0.0)
    return [match.encoding for match in matches if match.chaos < min_chaos + _CHAOS_MARGIN]


def _first_invalid_utf8(path: Path) -> int | None:
    """Return the offset of the first invalid UTF-8, None if the file is valid; raise ImportJobError for NULs."""
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
                raise ImportJobError(2003, "NUL characters in the text")
            if not block:
                return None
            read += len(block)
