"""Read files with GDAL in a sandboxed subprocess."""

from __future__ import annotations

import json
import mmap
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio

from cartoframes_lite.local.catalog.names import sanitize_columns
from cartoframes_lite.local.imports.files.archives import SourceFile
from cartoframes_lite.local.imports.files.error_codes import ImportJobError
from cartoframes_lite.local.imports.files.formats import (
    GEOJSON,
    GEOJSON_LINES,
    GEOPACKAGE,
    ODS,
    SHAPEFILE,
    SQLITE,
    XLSX,
    Format,
)
from cartoframes_lite.local.imports.files.layers import GeometryColumn, SourceLayer
from cartoframes_lite.local.imports.files.names import stem
from cartoframes_lite.local.imports.files.sqlite_check import check_database
from cartoframes_lite.local.imports.files.type_guessing import TIMESTAMP, convert
from cartoframes_lite.local.plan import Plan

_HEARTBEAT_S = 0.25
_READER = Path(__file__).with_name("gdal_reader.py")
_SANDBOX = Path(__file__).with_name("sandbox.py")
_GDAL_VARIABLES = ("GDAL", "OGR", "CPL", "VSI", "AWS", "PROJ", "GML", "XLSX", "ODS", "SPATIALITE", "CURL", "SSL")
_UNREACHABLE_PROXY = "http://127.0.0.1:1"
# No network, also where the sandbox is not supported; SQLite schemas may call only harmless functions.
_RESTRICTIONS = {
    "GDAL_HTTP_PROXY": _UNREACHABLE_PROXY,
    "GDAL_HTTPS_PROXY": _UNREACHABLE_PROXY,
    "GDAL_HTTP_TIMEOUT": "1",
    "PROJ_NETWORK": "OFF",
    "OGR_SQLITE_PRAGMA": "trusted_schema=OFF",
    "OGR_SQLITE_LIST_VIRTUAL_OGR": "NO",
}
_LINKED_CRS = re.compile(rb'"crs"\s*:\s*\{[^{}]*(?:\{[^{}]*\}[^{}]*)?"type"\s*:\s*"(?:link|url)"', re.IGNORECASE)


def read_layers(
    file: SourceFile,
    format_: Format,
    directory: Path,
    *,
    plan: Plan,
    check_cancelled: Callable[[], object],
    type_guessing: bool = True,
) -> list[SourceLayer]:
    """Read all layers of a file.

    Parameters
    ----------
    file : SourceFile
    format_ : Format
        Format of the file.
    directory : Path
        Empty directory for the rows; must exist as long as the layers are used.
    plan : Plan
    check_cancelled : callable
        Called every 0.25 seconds; its exceptions abort the reading.
    type_guessing : bool
        Whether to use the cell types of spreadsheets; all columns are text otherwise.

    Returns
    -------
    list of SourceLayer
        All layers with rows, or a single empty one.

    Raises
    ------
    ImportJobError
        The code of the format if the file is damaged or empty; 1019, 2004 or 6668 if it exceeds limits of the plan;
        6667 after a timeout; 3101 or 3008 if the projection of a shapefile is missing or invalid.
    """
    options = dict(format_.options)
    is_sheet = format_ in (XLSX, ODS)
    if is_sheet and not type_guessing:
        options["FIELD_TYPES"] = "STRING"
    _check(file, format_)
    settings = {
        "options": options,
        "headers": is_sheet,
        "ignored": sorted(format_.ignored_fields),
        "max_rows": plan.rows,
        "max_layers": plan.layers,
        "max_columns": plan.columns,
        "timeout_s": plan.import_timeout_s,
    }
    described = _layers_to_load(
        _run(file, format_, directory, settings, check_cancelled), file, format_, directory, plan
    )
    return [_layer(file, format_, one, directory, only_layer=len(described) == 1) for one in described]


def _layers_to_load(
    found: dict[str, Any], file: SourceFile, format_: Format, directory: Path, plan: Plan
) -> list[dict[str, Any]]:
    """Return the layers to load from the subprocess's result; raise ImportJobError for errors in it."""
    if "code" in found:
        raise ImportJobError(found["code"], file.name)
    if "error" in found:
        raise ImportJobError(format_.error_code, _without_paths(found["error"], file, directory))
    described = [one for one in found["layers"] if one["rows"]] or found["layers"][:1]
    if not described or (format_.empty_code is not None and not described[0]["rows"]):
        raise ImportJobError(format_.empty_code or format_.error_code, f"{file.name} has no rows")
    if len(described) > plan.layers:
        raise ImportJobError(1019, f"the limit is {plan.layers}")
    if any(one["rows"] > plan.rows for one in described):
        raise ImportJobError(6668, f"the limit is {plan.rows}")
    return described


def _run(
    file: SourceFile, format_: Format, directory: Path, settings: dict[str, Any], check_cancelled: Callable[[], object]
) -> dict[str, Any]:
    """Run the subprocess and return its result; a crash counts as an error of the file."""
    command = [sys.executable, "-P", str(_SANDBOX), str(_READER), str(file.path), str(directory), json.dumps(settings)]
    with subprocess.Popen(
        command,
        env=_environment(format_.drivers),
        stdin=subprocess.DEVNULL,  # some file names make GDAL read from stdin
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            output = _output(process, settings["timeout_s"], check_cancelled)
        finally:
            process.kill()  # no effect if it has exited
    if process.returncode != 0:
        return {"error": f"{file.name} cannot be read"}
    result: dict[str, Any] = json.loads(output)
    return result


def _output(process: subprocess.Popen[bytes], timeout_s: float, check_cancelled: Callable[[], object]) -> bytes:
    """Return the output of the subprocess; raise ImportJobError 6667 after the timeout."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return process.communicate(timeout=max(0.0, min(_HEARTBEAT_S, deadline - time.monotonic())))[0]
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise ImportJobError(6667) from None
            check_cancelled()


def _environment(drivers: tuple[str, ...]) -> dict[str, str]:
    """Return environment variables that limit GDAL to the given drivers and disable the network."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_GDAL_VARIABLES) and not name.lower().endswith("_proxy")
    }
    others = ",".join(sorted(_all_drivers() - set(drivers)))
    return {**kept, **_RESTRICTIONS, "GDAL_SKIP": others, "OGR_SKIP": others}


@cache
def _all_drivers() -> frozenset[str]:
    return frozenset(pyogrio.list_drivers())


def _check(file: SourceFile, format_: Format) -> None:
    """Raise ImportJobError for files that GDAL must not open."""
    if format_ is SHAPEFILE:
        _check_parts(file)
    elif format_ in (GEOPACKAGE, SQLITE):
        check_database(file.path)
    elif format_ in (GEOJSON, GEOJSON_LINES) and _has_linked_crs(file.path):
        raise ImportJobError(3008, "the coordinate system is a link, which is not followed")


def _has_linked_crs(path: Path) -> bool:
    """Return whether a GeoJSON file refers to its coordinate system by a link."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _LINKED_CRS.search(content) is not None


def _check_parts(file: SourceFile) -> None:
    """Raise ImportJobError if a part of a shapefile is missing; GDAL would reconstruct some parts."""
    for suffix in (".shx", ".dbf"):
        if not file.path.with_suffix(suffix).exists():
            raise ImportJobError(1006, f"{stem(file.name)}{suffix} is missing")
    if not file.path.with_suffix(".prj").exists():
        raise ImportJobError(3101, f"{stem(file.name)}.prj is missing")


def _layer(file: SourceFile, format_: Format, one: dict[str, Any], directory: Path, *, only_layer: bool) -> SourceLayer:
    """Return a layer from its description by the subprocess."""
    if format_ is SHAPEFILE and one["geometry"] is not None and one["crs"] is None:
        raise ImportJobError(3008, f"{stem(file.name)}.prj")
    path = directory / one["file"]
    with pa.ipc.open_stream(path) as reader:
        fields = list(reader.schema)
    matching = [at for at, field in enumerate(fields) if field.name == one["column"]]
    geometry_at = matching[-1] if matching else None  # the last one: GDAL puts the geometry after the fields
    names = sanitize_columns([field.name for at, field in enumerate(fields) if at != geometry_at])
    geometry = None
    if geometry_at is not None:
        column = "wkb of " + path.stem  # unique: normalized field names contain no spaces
        names.insert(geometry_at, column)
        geometry = GeometryColumn(column, one["crs"], _has_z(one["geometry"]))
    schema = pa.schema([pa.field(name, _storage_type(field)) for name, field in zip(names, fields, strict=True)])
    name = stem(file.name)
    if not only_layer and one["name"].casefold() != name.casefold():
        name = f"{name}_{one['name']}"
    return SourceLayer(name, schema, partial(_batches, path, schema), geometry)


def _has_z(kind: str) -> bool | None:
    """Return whether a GDAL geometry type has Z; None if it depends on the rows."""
    if kind.startswith("Unknown") or kind.endswith("M"):
        return None
    return kind.endswith(" Z") or kind.startswith("2.5D")


def _is_datetime(field: pa.Field) -> bool:
    """Return whether a field is a GDAL DateTime written as text."""
    return (field.metadata or {}).get(b"GDAL:OGR:type") == b"DateTime"


def _storage_type(field: pa.Field) -> pa.DataType:
    """Return the storage type of an extension type, and the value type of a dictionary."""
    arrow = field.type
    if _is_datetime(field):
        return TIMESTAMP.arrow
    if pa.types.is_dictionary(arrow):
        return arrow.value_type
    return arrow.storage_type if isinstance(arrow, pa.BaseExtensionType) else arrow


def _storage_values(column: pa.Array, field: pa.Field) -> pa.Array:
    """Return the values in their storage type; raise ImportJobError 2006 for text that is not valid UTF-8."""
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    values = column.storage if isinstance(column, pa.ExtensionArray) else column
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        raise ImportJobError(2006) from None
    if not _is_datetime(field):
        return values
    try:
        return convert(values, TIMESTAMP)
    except pa.ArrowInvalid:
        raise ImportJobError(2001, f"column {field.name} contains invalid times") from None


def _batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
        for batch in reader:
            columns = [_storage_values(*pair) for pair in zip(batch.columns, reader.schema, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _without_paths(text: str, file: SourceFile, directory: Path) -> str:
    """Remove paths of the server and advice to developers from a GDAL message."""
    for part, plain in ((str(file.path), file.name), (str(file.path.parent), ""), (str(directory.parent), "")):
        text = text.replace(part, plain)
    return text.partition("; It might help")[0]  # advice on calling GDAL differently
