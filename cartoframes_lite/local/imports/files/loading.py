"""Load a layer into a table: scan all rows to determine types and geometry, then send them by binary COPY."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql

from cartoframes_lite.local.catalog.names import append_number
from cartoframes_lite.local.imports.files.country_names import country_detector
from cartoframes_lite.local.imports.files.error_codes import ImportJobError
from cartoframes_lite.local.imports.files.geometry import to_ewkb
from cartoframes_lite.local.imports.files.geometry_detection import GeometryDetector, geometry_detectors
from cartoframes_lite.local.imports.files.layers import SourceLayer
from cartoframes_lite.local.imports.files.tables import Connection, cartodbfy, postgres_errors, public, staging_name
from cartoframes_lite.local.imports.files.type_guessing import (
    BIGINT,
    BYTES,
    INTEGER,
    TIMESTAMP,
    Kind,
    TypeGuess,
    convert,
    is_text,
    kind_from_arrow,
    trim,
)
from cartoframes_lite.local.plan import Plan

_ID, _GEOMETRY, _MERCATOR = "cartodb_id", "the_geom", "the_geom_webmercator"
_INVALID_GEOMETRY = "invalid_the_geom"
_COPY_BATCH_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class LayerScan:
    """Result of the scan of all rows.

    Attributes
    ----------
    rows : int
    kinds : dict
        Types by column, in column order, without columns that become the geometry.
    detector : GeometryDetector, optional
        Creates the geometries. None if the layer has none.
    """

    rows: int
    kinds: dict[str, Kind]
    detector: GeometryDetector | None


def load(connection: Connection, layer: SourceLayer, *, content_guessing: bool, plan: Plan) -> tuple[str, int]:
    """Load a layer into a new table.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection of the owner, in a transaction.
    layer : SourceLayer
    content_guessing : bool
        Whether to create geometries from country names.
    plan : Plan

    Returns
    -------
    table : str
        Name of the staging table.
    rows : int
        Number of rows.

    Raises
    ------
    ImportJobError
        2004 or 6668 for too many columns or rows, 2011 for an invalid cartodb_id, 2014 for an invalid geometry, 3008
        for an unknown CRS, 8001 if the quota is exceeded, 2001 for other errors of PostgreSQL.
    """
    if len(layer.schema) > plan.columns:
        raise ImportJobError(2004, f"{len(layer.schema)} columns, the limit is {plan.columns}")
    scan = _scan(layer, content_guessing=content_guessing, plan=plan)
    if scan.rows >= 2**31:
        raise ImportJobError(6668)
    columns = _column_names(scan)
    table = staging_name()
    with postgres_errors(2001, UniqueViolation=2011, InternalError=2014):
        _create(connection, table, scan, columns)
        _copy(connection, table, layer, scan, columns)
        _add_primary_key(connection, table)
    cartodbfy(connection, table)
    connection.execute(sql.SQL("ANALYZE {}").format(public(table)))
    return table, scan.rows


def _scan(layer: SourceLayer, *, content_guessing: bool, plan: Plan) -> LayerScan:
    """Scan all rows for types and geometry."""
    guesses = {name: TypeGuess() for name in layer.schema.names if name in layer.guessed}
    detectors: list[GeometryDetector] = geometry_detectors(layer)
    if content_guessing:
        detectors += country_detector(layer)
    filled: set[str] = set()
    rows = 0
    for batch in layer.batches():
        rows += batch.num_rows
        if rows > plan.rows:
            raise ImportJobError(6668, f"more than {plan.rows} rows")
        for detector in detectors:
            detector.inspect(batch)
        for name, guess in guesses.items():
            guess.inspect(batch.column(name))
        filled.update(name for name in batch.schema.names if batch.column(name).null_count < batch.num_rows)
        if _ID in layer.schema.names and batch.column(_ID).null_count:
            raise ImportJobError(2011, "cartodb_id has missing values")
    found = next((detector for detector in detectors if detector.found), None)
    dropped = {_MERCATOR, found.consumed if found else None, layer.geometry.column if layer.geometry else None}
    if _GEOMETRY not in filled:
        dropped.add(_GEOMETRY)
    kinds = {
        field.name: guesses[field.name].kind if field.name in guesses else kind_from_arrow(field.type)
        for field in layer.schema
        if field.name not in dropped
    }
    if _ID in kinds:
        kinds[_ID] = _id_kind(layer)
    return LayerScan(rows, kinds, found)


def _id_kind(layer: SourceLayer) -> Kind:
    """Return the type that fits the values of cartodb_id; raise ImportJobError if they are not integers."""
    max_abs = 0
    for batch in layer.batches():
        if batch.num_rows:
            bounds = pc.min_max(_ids(batch, BIGINT))
            max_abs = max(max_abs, bounds["max"].as_py(), -bounds["min"].as_py())
    return INTEGER if max_abs < 2**31 - 1 else BIGINT


def _ids(batch: pa.RecordBatch, kind: Kind) -> pa.Array:
    """Return the column cartodb_id as integers."""
    values = batch.column(_ID)
    try:
        return (trim(values) if is_text(values.type) else values).cast(kind.arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise ImportJobError(2011, "cartodb_id contains values that are not integers") from None


def _column_names(scan: LayerScan) -> dict[str, str]:
    """Return the column names of the table by those of the layer; a the_geom without geometry is renamed."""
    names: dict[str, str] = {}
    for name in scan.kinds:
        column = _INVALID_GEOMETRY if name == _GEOMETRY else name
        names[name] = column if column == name else append_number(column, scan.kinds)
    return names


def _create(connection: Connection, table: str, scan: LayerScan, columns: dict[str, str]) -> None:
    """Create the table with CARTO's columns, so that cartodbfying does not rewrite it; indexes follow after COPY."""
    dimensions = "Z" if scan.detector is not None and scan.detector.has_z else ""
    id_type = scan.kinds.get(_ID, INTEGER)
    parts = [
        sql.SQL("cartodb_id {} NOT NULL").format(sql.SQL("bigserial" if id_type is BIGINT else "serial")),
        sql.SQL(f"the_geom geometry(Geometry{dimensions},4326)"),
        sql.SQL(f"the_geom_webmercator geometry(Geometry{dimensions},3857)"),
    ]
    parts += [
        sql.SQL("{} {}").format(sql.Identifier(columns[name]), sql.SQL(kind.sql))
        for name, kind in scan.kinds.items()
        if name != _ID
    ]
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(public(table), sql.SQL(", ").join(parts)))
    connection.execute(
        sql.SQL(
            "CREATE TRIGGER update_the_geom_webmercator_trigger BEFORE INSERT OR UPDATE OF the_geom ON {}"
            " FOR EACH ROW EXECUTE FUNCTION cartodb._cdb_update_the_geom_webmercator()"
        ).format(public(table))
    )


def _copy(connection: Connection, table: str, layer: SourceLayer, scan: LayerScan, columns: dict[str, str]) -> None:
    """Send the rows by binary COPY."""
    fields = [pa.field(_ID, pa.int64() if scan.kinds.get(_ID) is BIGINT else pa.int32())]
    fields += [pa.field(columns[name], _wire_type(kind)) for name, kind in scan.kinds.items() if name != _ID]
    if scan.detector is not None:
        fields.append(pa.field(_GEOMETRY, BYTES.arrow))
    schema = pa.schema(fields)
    encoder = ArrowToPostgresBinaryEncoder(schema)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        public(table), sql.SQL(", ").join(map(sql.Identifier, schema.names))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(encoder.write_header())
        first = 1
        for batch in _slices(layer):
            arrays = _table_arrays(batch, scan, first)
            copy.write(encoder.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema)))
            first += batch.num_rows
        copy.write(encoder.finish())


def _slices(layer: SourceLayer) -> Iterator[pa.RecordBatch]:
    """Yield slices of the batches, to limit the memory for encoding."""
    for batch in layer.batches():
        for start in range(0, batch.num_rows, _COPY_BATCH_ROWS):
            yield batch.slice(start, _COPY_BATCH_ROWS)


def _table_arrays(batch: pa.RecordBatch, scan: LayerScan, first: int) -> list[pa.Array]:
    """Convert a batch of the layer to the columns of the table."""
    if _ID in scan.kinds:
        arrays = [_ids(batch, scan.kinds[_ID])]
    else:
        arrays = [pa.array(np.arange(first, first + batch.num_rows, dtype=np.int32))]
    arrays += [
        convert(batch.column(name), kind).cast(_wire_type(kind)) for name, kind in scan.kinds.items() if name != _ID
    ]
    if scan.detector is not None:
        arrays.append(to_ewkb(scan.detector.geometries(batch), has_z=scan.detector.has_z))
    return arrays


def _wire_type(kind: Kind) -> pa.DataType:
    """Return the Arrow type to encode; timestamps are in UTC and encoded without their time zone."""
    return pa.timestamp("us") if kind is TIMESTAMP else kind.arrow


def _add_primary_key(connection: Connection, table: str) -> None:
    """Make cartodb_id the primary key and advance its sequence past the last row."""
    connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (cartodb_id)").format(public(table)))
    connection.execute(
        sql.SQL(
            "SELECT setval(pg_get_serial_sequence({}, 'cartodb_id'), greatest(coalesce(max(cartodb_id), 0), 0) + 1,"
            " false) FROM {}"
        ).format(sql.Literal(public(table).as_string(connection)), public(table))
    )
