"""The encoding of a text file, and the file in UTF-8."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from charset_normalizer import from_bytes

from .codes import ImportRefused

_BLOCK = 1 << 20
_SAMPLE = 1 << 18
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as the one of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = "cp1252"
# Any bytes are letters in these; nobody sends them.
_MAINFRAMES = ["cp037", "cp1026", "cp1140", "cp273", "cp424", "cp500", "cp875"]
_WORD = re.compile(r"[^\W\d_]+")
_SIGN_IN_WORD = re.compile(r"[A-Za-zÀ-ÿ][¡-¶\xb8-¿][A-Za-zÀ-ÿ]")


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
    if _is_western(telling):
        return _WESTERN
    best = from_bytes(telling, cp_exclusion=_MAINFRAMES).best()
    if best is None:
        raise ImportRefused(2002)
    return best.encoding


def _is_western(sample: bytes) -> bool:
    """Tell whether text reads like one of western Europe: accents on some letters, and no signs in the middle of words.

    Statistics of whole languages, as of charset-normalizer, are of no use for columns of names.
    """
    try:
        text = sample.decode(_WESTERN)
    except UnicodeDecodeError:
        return False
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    accented = sum(not letter.isascii() for word in words for letter in word)
    return accented <= sum(map(len, words)) / 2 and not _SIGN_IN_WORD.search(text)


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
