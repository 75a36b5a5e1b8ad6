"""Load files and query results into staging tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from psycopg import sql

from cartoframes_lite.local.catalog.names import sanitize_table
from cartoframes_lite.local.imports.files.archives import SourceFile, unpack
from cartoframes_lite.local.imports.files.delimited import read_delimited
from cartoframes_lite.local.imports.files.error_codes import ImportJobError
from cartoframes_lite.local.imports.files.formats import COMPANIONS, DELIMITED, GEOJSON, Format, recognize
from cartoframes_lite.local.imports.files.gdal import read_layers
from cartoframes_lite.local.imports.files.layers import SourceLayer
from cartoframes_lite.local.imports.files.loading import load
from cartoframes_lite.local.imports.files.names import table_name
from cartoframes_lite.local.imports.files.tables import (
    Connection,
    Staged,
    StagedTable,
    cartodbfy,
    postgres_errors,
    public,
    scalar,
    staging_name,
)
from cartoframes_lite.local.plan import Plan

MAX_TABLES = 26  # of one import
_UNSUPPORTED = 1002
_README = re.compile(r"readme.*\.txt")


@dataclass(frozen=True, slots=True)
class GuessingOptions:
    """Guessing options of an import.

    Attributes
    ----------
    type_guessing : bool
        Guess column types of delimited text and spreadsheets. If False, all columns are text.
    quoted_fields_guessing : bool
        Guess also the types of columns with quoted values in delimited text.
    content_guessing : bool
        Create geometries from country names if the file has no geometry.
    """

    type_guessing: bool = True
    quoted_fields_guessing: bool = True
    content_guessing: bool = False


def stage_file(
    connection: Connection, path: Path, *, file_name: str, options: GuessingOptions, plan: Plan, directory: Path
) -> Staged:
    """Load the tables of a file, at most `MAX_TABLES`.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection of the owner, in a transaction of the caller, who must roll it back after an error.
    path : Path
        The file.
    file_name : str
        Original name. Determines the table name, and the format if the content is ambiguous.
    options : GuessingOptions
    plan : Plan
        Limits.
    directory : Path
        Directory for temporary files, which are removed.

    Returns
    -------
    Staged
        The tables that could be loaded; of an archive, other files may have failed.

    Raises
    ------
    ImportJobError
        If no table could be loaded.
    """
    with TemporaryDirectory(prefix="import-", dir=directory) as name:
        work = Path(name)
        unpacked = _subdirectory(work, "unpacked")
        found, failures = _recognized(unpack(path, file_name, unpacked, limit_bytes=plan.file_bytes))
        staged = Staged([], failures)
        for number, (file, format_) in enumerate(found):
            try:
                layers = _layers(connection, file, format_, _subdirectory(work, f"layers_{number}"), options, plan)
            except ImportJobError as error:
                failures.append(error)
                continue
            for layer in layers:
                _stage_layer(connection, layer, staged, options, plan)
    if not staged.tables:
        raise staged.failures[0]
    return staged


def _stage_layer(
    connection: Connection, layer: SourceLayer, staged: Staged, options: GuessingOptions, plan: Plan
) -> None:
    """Load a layer and add its table, or its error, to those of the source."""
    if len(staged.tables) == MAX_TABLES:
        staged.truncated = True
        return
    try:
        with connection.transaction():
            table, rows = load(connection, layer, content_guessing=options.content_guessing, plan=plan)
    except ImportJobError as error:
        staged.failures.append(error)
    else:
        new_name = table_name(layer.name, [other.name for other in staged.tables])
        staged.tables.append(StagedTable(table, new_name, rows))


def stage_query(connection: Connection, query: str, *, name: str, plan: Plan) -> StagedTable:
    """Create a table from the result of a query.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection of the owner, in a transaction of the caller, who must roll it back after an error.
    query : str
        A single SELECT statement.
    name : str
        Name for the table, not sanitized.
    plan : Plan
        Limits.

    Raises
    ------
    ImportJobError
        8003 if the query fails, 8004 if its types do not match, 2004 or 6668 for too many columns or rows, 2011 for an
        invalid cartodb_id, 8001 if the quota is exceeded.
    """
    table = staging_name()
    # PostgreSQL prepares single statements only, so that the query cannot contain COMMIT.
    statement = sql.SQL("CREATE TABLE {} AS\n{}").format(public(table), sql.SQL(query))
    with postgres_errors(8003, UndefinedFunction=8004):  # no operator or function for these types
        connection.execute(statement.as_string(connection).encode(), prepare=True)
    columns = scalar(
        connection,
        sql.SQL("SELECT count(*) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"),
        (public(table).as_string(connection),),
    )
    if columns > plan.columns:
        raise ImportJobError(2004, f"{columns} columns, the limit is {plan.columns}")
    rows = scalar(connection, sql.SQL("SELECT count(*) FROM {}").format(public(table)))
    if rows > plan.rows:
        raise ImportJobError(6668, f"{rows} rows, the limit is {plan.rows}")
    cartodbfy(connection, table)
    connection.execute(sql.SQL("ANALYZE {}").format(public(table)))
    return StagedTable(table, sanitize_table(name), rows)


def _recognized(files: list[SourceFile]) -> tuple[list[tuple[SourceFile, Format]], list[ImportJobError]]:
    """Return the importable files of an archive with their formats, and the errors of files of known formats."""
    if len(files) == 1:
        return [(files[0], recognize(files[0]))], []
    found, failures = [], []
    for file in files:
        if not _is_companion(file, files) and not _is_ignored(file):
            try:
                found.append((file, recognize(file)))
            except ImportJobError as error:
                if error.code != _UNSUPPORTED:
                    failures.append(error)
    if any(format_ is not GEOJSON or file.suffix == ".geojson" for file, format_ in found):
        found = [(file, format_) for file, format_ in found if format_ is not GEOJSON or _is_geojson(file)]
    if not found and not failures:
        raise ImportJobError(_UNSUPPORTED, "the archive contains no supported file")
    return found, failures


def _is_ignored(file: SourceFile) -> bool:
    """Return whether a file of an archive is not imported although its format could be: readme, version, metadata."""
    name = file.name.lower()
    return not file.suffix or name.endswith((".carto.json", ".version.txt")) or bool(_README.search(name))


def _is_companion(file: SourceFile, files: list[SourceFile]) -> bool:
    """Return whether a file is part of another file's dataset."""
    if file.suffix not in COMPANIONS:
        return False
    main = {other.path.with_suffix("") for other in files if other.suffix in (".shp", ".tab", ".mif")}
    return file.suffix not in (".dat", ".xml") or file.path.with_suffix("") in main or file.name.endswith(".shp.xml")


def _is_geojson(file: SourceFile) -> bool:
    """Return whether a JSON file in an archive contains data and not metadata."""
    with file.path.open("rb") as opened:
        head = opened.read(4096)
    return file.suffix == ".geojson" or b'"FeatureCollection"' in head or b'"Topology"' in head


def _layers(
    connection: Connection, file: SourceFile, format_: Format, directory: Path, options: GuessingOptions, plan: Plan
) -> list[SourceLayer]:
    """Read the layers of a file; a terminated database session aborts the reading."""
    if format_ is DELIMITED:
        return [
            read_delimited(
                file,
                directory,
                plan=plan,
                type_guessing=options.type_guessing,
                quoted_fields_guessing=options.quoted_fields_guessing,
            )
        ]
    return read_layers(
        file,
        format_,
        directory,
        plan=plan,
        check_cancelled=partial(connection.execute, "SELECT 1"),
        type_guessing=options.type_guessing,
    )


def _subdirectory(directory: Path, name: str) -> Path:
    path = directory / name
    path.mkdir()
    return path
