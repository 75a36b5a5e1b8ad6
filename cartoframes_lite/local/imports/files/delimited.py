"""Read delimited text (CSV, TSV and similar) as a layer of text columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from cartoframes_lite.local.catalog.names import sanitize_columns
from cartoframes_lite.local.imports.files.archives import SourceFile
from cartoframes_lite.local.imports.files.encoding import as_utf8
from cartoframes_lite.local.imports.files.error_codes import ImportJobError
from cartoframes_lite.local.imports.files.layers import SourceLayer
from cartoframes_lite.local.imports.files.names import stem
from cartoframes_lite.local.plan import Plan

_BLOCK_BYTES = 4 << 20  # Arrow reads several blocks ahead
_MAX_LINE_BYTES = 128 << 20  # parsing takes several times as much memory
_SAMPLE_CHARACTERS = 1 << 18
_SAMPLE_RECORDS = 200
_DELIMITERS = (",", ";", "\t", "|")
_NUMBER = re.compile(r"\s*-?\d+([.,]\d*)?\s*")


def read_delimited(
    file: SourceFile, directory: Path, *, plan: Plan, type_guessing: bool = True, quoted_fields_guessing: bool = True
) -> SourceLayer:
    """Read a file of delimited text.

    The first line is the header unless all of its fields are numbers.

    Parameters
    ----------
    file : SourceFile
    directory : Path
        Directory for a copy in UTF-8; must exist as long as the layer is used.
    plan : Plan
    type_guessing : bool
        Whether to guess the types of columns.
    quoted_fields_guessing : bool
        Whether to guess also the types of columns with quoted values.

    Raises
    ------
    ImportJobError
        1005 if the file is blank, 2002 or 2003 if it is not text, 2004 for too many columns. Reading the batches
        raises 2003 if lines differ in their number of fields.
    """
    path = as_utf8(file.path, directory / "text.csv")
    records, delimiter = _sample(path, "\t" if file.suffix == ".tsv" else ",")
    header = records[0]
    # GDAL, and so CARTO's SQL API, writes a delimiter after the name of a single column but not after its values.
    single_column = len(header) == 2 and not header[1] and {len(record) for record in records[1:]} == {1}
    if single_column:
        del header[1]
    if len(header) > plan.columns:
        raise ImportJobError(2004, f"{len(header)} columns, the limit is {plan.columns}")
    no_header = not single_column and any(header) and all(_NUMBER.fullmatch(field) for field in header if field)
    names = sanitize_columns(["" if no_header else field for field in header])
    schema = pa.schema([pa.field(name, pa.string()) for name in names])
    guessed = set(names) if type_guessing else set()
    if guessed and not quoted_fields_guessing:
        guessed -= {names[at] for at in _quoted_columns(path, delimiter, skip_header=not no_header) if at < len(names)}
    skip_header = not (single_column or no_header)
    batches = partial(_batches, path, delimiter, schema, skip_line=single_column, skip_header=skip_header)
    return SourceLayer(stem(file.name), schema, batches, guessed=frozenset(guessed), has_coordinates=type_guessing)


def _sample(path: Path, preferred: str) -> tuple[list[list[str]], str]:
    """Return the first records and the delimiter: the one with the most consistent, then the highest, field count."""
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read(_SAMPLE_CHARACTERS)
    if not text.strip():
        raise ImportJobError(1005)
    complete = len(text) < _SAMPLE_CHARACTERS
    best: tuple[tuple[float, int, bool], list[list[str]], str] | None = None
    for delimiter in _DELIMITERS:
        records = _records(text, delimiter, complete=complete)
        if not records:
            continue
        width = len(records[0])
        consistency = sum(len(record) == width for record in records) / len(records)
        score = (consistency if width > 1 else 0.0, width, delimiter == preferred)
        if best is None or score > best[0]:
            best = (score, records, delimiter)
    if best is None:
        raise ImportJobError(2003, f"no complete line in the first {_SAMPLE_CHARACTERS} characters of the file")
    return best[1], best[2]


def _records(text: str, delimiter: str, *, complete: bool) -> list[list[str]]:
    """Parse the non-blank records of a sample, without the last one if it may be truncated."""
    records: list[list[str]] = []
    with suppress(csv.Error):  # a field exceeds the limit of the csv module: not the delimiter of this file
        for record in csv.reader(text.splitlines(keepends=True), delimiter=delimiter):
            if record and (len(record) > 1 or record[0].strip()):
                records.append(record)
            if len(records) > _SAMPLE_RECORDS:
                break
    return records if complete or len(records) < 2 else records[:-1]


def _batches(
    path: Path, delimiter: str, schema: pa.Schema, *, skip_line: bool, skip_header: bool
) -> Iterator[pa.RecordBatch]:
    """Yield the rows without the skipped line or header; empty fields become NULL."""
    last = ""
    try:
        with pyarrow.csv.open_csv(
            path,
            # With explicit names, the reader checks the field count of the header like that of other lines.
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
        raise ImportJobError(2003, _first_line(error)) from None
    if "\n" in last and not _ends_with_quote(path):
        raise ImportJobError(2003, "a quote is not closed")


def _block_bytes(path: Path) -> int:
    """Return a block size that fits the longest line: WKT or GeoJSON values can have several megabytes."""
    longest = run = 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            if run > _MAX_LINE_BYTES:
                raise ImportJobError(2003, f"a line is longer than {_MAX_LINE_BYTES >> 20} MB")
            first = part.find(b"\n")
            if first < 0:
                run += len(part)
            else:  # lines within one part always fit a block
                longest = max(longest, run + first)
                run = len(part) - part.rfind(b"\n")
    return max(_BLOCK_BYTES, 2 * max(longest, run))


def _ends_with_quote(path: Path) -> bool:
    """Return whether the file ends with a quote: Arrow accepts the end of the file as a closing quote."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return file.read().rstrip(b"\r\n").endswith(b'"')


def _first_line(error: pa.ArrowInvalid) -> str:
    """Return the first line of an Arrow error, without the content of the row."""
    text = str(error).partition("\n")[0]
    found = re.match(r"CSV parse error: (Row #\d+: )?(Expected \d+ columns, got \d+)", text)
    return found[0] if found else text[:200]


def _quoted_columns(path: Path, delimiter: str, *, skip_header: bool) -> set[int]:
    """Return the positions of columns that contain a quoted, non-empty field."""
    found: set[int] = set()
    position, in_quotes = 0, False  # column of the current field; whether its quote is open
    with path.open(encoding="utf-8", newline="") as file:
        for line in file:
            at = 0
            while True:
                if in_quotes:
                    at = line.find('"', at) + 1  # the second of two consecutive quotes reopens the field
                    if not at:
                        break  # continues on the next line
                    in_quotes = False
                if line.startswith('"', at):
                    in_quotes = True
                    at += 1
                    if not line.startswith('"', at) and not skip_header:
                        found.add(position)
                    continue
                at = line.find(delimiter, at) + 1
                if not at:
                    position, skip_header = 0, False
                    break
                position += 1
    return found
