"""Delimited text (CSV, TSV and the like) to a layer, all of whose columns are text."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from cartoframes_lite.local.imports.files.archives import SourceFile
from cartoframes_lite.local.imports.files.encoding import as_utf8
from cartoframes_lite.local.imports.files.error_codes import ImportRefused
from cartoframes_lite.local.imports.files.layers import SourceLayer
from cartoframes_lite.local.imports.files.names import normalize_columns, stem
from cartoframes_lite.local.plan import Plan

_BLOCK_BYTES = 4 << 20  # Arrow reads some of them ahead
_LONGEST_LINE_BYTES = 128 << 20  # Arrow and the text of a batch take several times as much
_SAMPLE_CHARACTERS = 1 << 18
_SAMPLE_RECORDS = 200
_DELIMITERS = (",", ";", "\t", "|")
_NUMBER = re.compile(r"\s*-?\d+([.,]\d*)?\s*")


def read_delimited(
    file: SourceFile, directory: Path, *, plan: Plan, type_guessing: bool = True, quoted_fields_guessing: bool = True
) -> SourceLayer:
    """Read a file of delimited text.

    The first line is the header, unless there are nothing but numbers in it.

    Parameters
    ----------
    file : SourceFile
    directory : Path
        For a copy in UTF-8; must last as long as the layer.
    plan : Plan
    type_guessing : bool
        Whether the types of columns are to be found out.
    quoted_fields_guessing : bool
        Whether also of columns with values in quotes.

    Raises
    ------
    ImportRefused
        1005 if it is blank, 2002 or 2003 if it is no text, or not of the same number of fields in each line, 2004
        if there are too many columns. Lines are checked as they are read.
    """
    path = as_utf8(file.path, directory / "text.csv")
    records, delimiter = _sample(path, "\t" if file.suffix == ".tsv" else ",")
    header = records[0]
    # GDAL, and so CARTO's SQL API, writes a delimiter behind the name of a single column, and none behind its values.
    alone = len(header) == 2 and not header[1] and {len(record) for record in records[1:]} == {1}
    if alone:
        del header[1]
    if len(header) > plan.columns:
        raise ImportRefused(2004, f"{len(header)} columns, and {plan.columns} are allowed")
    headless = not alone and any(header) and all(_NUMBER.fullmatch(field) for field in header if field)
    names = normalize_columns("" if headless else field for field in header)
    schema = pa.schema([pa.field(name, pa.string()) for name in names])
    guessed = set(names) if type_guessing else set()
    if guessed and not quoted_fields_guessing:
        guessed -= {names[at] for at in _quoted(path, delimiter, skip_header=not headless) if at < len(names)}
    batches = partial(_batches, path, delimiter, schema, skip_line=alone, skip_header=not (alone or headless))
    return SourceLayer(stem(file.name), schema, batches, guessed=frozenset(guessed))


def _sample(path: Path, preferred: str) -> tuple[list[list[str]], str]:
    """Return the first records, and the delimiter that cuts them most evenly into the most fields."""
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read(_SAMPLE_CHARACTERS)
    if not text.strip():
        raise ImportRefused(1005)
    complete = len(text) < _SAMPLE_CHARACTERS
    best: tuple[tuple[float, int, bool], list[list[str]], str] | None = None
    for delimiter in _DELIMITERS:
        records = _records(text, delimiter, complete=complete)
        if not records:
            continue
        width = len(records[0])
        even = sum(len(record) == width for record in records) / len(records)
        merit = (even if width > 1 else 0.0, width, delimiter == preferred)
        if best is None or merit > best[0]:
            best = (merit, records, delimiter)
    if best is None:
        raise ImportRefused(2003, "no line of it ends within the first part of the file")
    return best[1], best[2]


def _records(text: str, delimiter: str, *, complete: bool) -> list[list[str]]:
    """Parse the records of a sample that are not blank, but the last if it may have been cut."""
    records: list[list[str]] = []
    with suppress(csv.Error):  # a field beyond the limit of the module: no delimiter of this file
        for record in csv.reader(text.splitlines(keepends=True), delimiter=delimiter):
            if record and (len(record) > 1 or record[0].strip()):
                records.append(record)
            if len(records) > _SAMPLE_RECORDS:
                break
    return records if complete or len(records) < 2 else records[:-1]


def _batches(
    path: Path, delimiter: str, schema: pa.Schema, *, skip_line: bool, skip_header: bool
) -> Iterator[pa.RecordBatch]:
    """Read the rows, all but those of the first line or record; empty fields are NULL."""
    last = ""
    try:
        with pyarrow.csv.open_csv(
            path,
            # Names of our own make the reader count the fields of the header like those of any other line.
            read_options=pyarrow.csv.ReadOptions(
                column_names=schema.names, skip_rows=int(skip_line), block_size=_block_bytes(path), use_threads=False
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=True
            ),
        ) as reader:
            for batch in reader:
                if batch.num_rows:
                    last = batch.column(batch.num_columns - 1)[-1].as_py() or ""
                    yield batch.slice(1) if skip_header else batch
                    skip_header = False
    except pa.ArrowInvalid as error:
        raise ImportRefused(2003, _first_line(error)) from None
    if "\n" in last and not _ends_with_quote(path):
        raise ImportRefused(2003, "a quote is not closed")


def _block_bytes(path: Path) -> int:
    """Return a size of blocks with room for the longest line: geometry as text can have megabytes."""
    longest = run = 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            if run > _LONGEST_LINE_BYTES:
                raise ImportRefused(2003, f"a line has more than {_LONGEST_LINE_BYTES >> 20} MB")
            first = part.find(b"\n")
            if first < 0:
                run += len(part)
            else:  # lines that begin and end in the same part are short enough
                longest = max(longest, run + first)
                run = len(part) - part.rfind(b"\n")
    return max(_BLOCK_BYTES, 2 * max(longest, run))


def _ends_with_quote(path: Path) -> bool:
    """Tell whether the last field is closed: the reader takes the end of the file for a quote."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return file.read().rstrip(b"\r\n").endswith(b'"')


def _first_line(error: pa.ArrowInvalid) -> str:
    """Say which line is wrong, without its contents."""
    text = str(error).partition("\n")[0]
    found = re.match(r"CSV parse error: (Row #\d+: )?(Expected \d+ columns, got \d+)", text)
    return found[0] if found else text[:200]


def _quoted(path: Path, delimiter: str, *, skip_header: bool) -> set[int]:
    """Return the places of the columns in which a field is quoted, and not empty."""
    found: set[int] = set()
    place, within = 0, False  # of the field, and whether its quotes are open
    with path.open(encoding="utf-8", newline="") as file:
        for line in file:
            at = 0
            while True:
                if within:
                    at = line.find('"', at) + 1  # of two in a row the second opens the field again
                    if not at:
                        break  # goes on in the next line
                    within = False
                if line.startswith('"', at):
                    within = True
                    at += 1
                    if not line.startswith('"', at) and not skip_header:
                        found.add(place)
                    continue
                at = line.find(delimiter, at) + 1
                if not at:
                    place, skip_header = 0, False
                    break
                place += 1
    return found
