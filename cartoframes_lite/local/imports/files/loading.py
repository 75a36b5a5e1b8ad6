"""A layer becomes a table: its rows are looked at first, and then sent by binary COPY."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql

from cartoframes_lite.local.imports.files.country_names import country_detector
from cartoframes_lite.local.imports.files.error_codes import ImportRefused
from cartoframes_lite.local.imports.files.geometry import to_ewkb
from cartoframes_lite.local.imports.files.geometry_detection import GeometryDetector, geometry_detectors
from cartoframes_lite.local.imports.files.layers import SourceLayer
from cartoframes_lite.local.imports.files.names import unique
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
    kind_of,
    trimmed,
)
from cartoframes_lite.local.plan import Plan

_ID, _GEOMETRY, _MERCATOR = "cartodb_id", "the_geom", "the_geom_webmercator"
_UNREAD_GEOMETRY = "invalid_the_geom"
_COPIED_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look at all rows has shown.

    Attributes
    ----------
    rows : int
    kinds : dict
        By column, in their order, without the one that becomes the geometry.
    finder : GeometryDetector, optional
        Makes the geometry. None if there is none.
    """

    rows: int
    kinds: dict[str, Kind]
    finder: GeometryDetector | None


def load(connection: Connection, layer: SourceLayer, *, content_guessing: bool, plan: Plan) -> tuple[str, int]:
    """Load a layer into a new table.

    Parameters
    ----------
    connection : psycopg.Connection
        The owner's, in a transaction.
    layer : SourceLayer
    content_guessing : bool
        Whether names of countries may become geometry.
    plan : Plan

    Returns
    -------
    table : str
        Its name for now.
    rows : int

    Raises
    ------
    ImportRefused
        2004 or 6668 if there are too many columns or rows, 2011 for a bad cartodb_id, 2014 for a bad geometry, 3008
        for an unknown coordinate system, 8001 if the quota is exceeded, 2001 for what PostgreSQL does not take.
    """
    if len(layer.schema) > plan.columns:
        raise ImportRefused(2004, f"{len(layer.schema)} columns, and {plan.columns} are allowed")
    survey = _survey(layer, content_guessing=content_guessing, plan=plan)
    if survey.rows >= 2**31:
        raise ImportRefused(6668)
    columns = _column_names(survey)
    table = staging_name()
    with postgres_errors(2001, UniqueViolation=2011, InternalError=2014):
        _create(connection, table, survey, columns)
        _copy(connection, table, layer, survey, columns)
        _number(connection, table)
    cartodbfy(connection, table)
    connection.execute(sql.SQL("ANALYZE {}").format(public(table)))
    return table, survey.rows


def _survey(layer: SourceLayer, *, content_guessing: bool, plan: Plan) -> Survey:
    """Look at all rows."""
    guesses = {name: TypeGuess() for name in layer.schema.names if name in layer.guessed}
    seekers: list[GeometryDetector] = geometry_detectors(layer)
    if content_guessing:
        seekers += country_detector(layer)
    filled: set[str] = set()
    rows = 0
    for batch in layer.batches():
        rows += batch.num_rows
        if rows > plan.rows:
            raise ImportRefused(6668, f"more than {plan.rows}")
        for seeker in seekers:
            seeker.look(batch)
        for name, guess in guesses.items():
            guess.look(batch.column(name))
        filled.update(name for name in batch.schema.names if batch.column(name).null_count < batch.num_rows)
        if _ID in layer.schema.names and batch.column(_ID).null_count:
            raise ImportRefused(2011, "it has gaps")
    finder = next((seeker for seeker in seekers if seeker.found), None)
    gone = {_MERCATOR, finder.consumed if finder else None, layer.geometry.column if layer.geometry else None}
    if _GEOMETRY not in filled:
        gone.add(_GEOMETRY)
    kinds = {
        field.name: guesses[field.name].kind if field.name in guesses else kind_of(field.type)
        for field in layer.schema
        if field.name not in gone
    }
    if _ID in kinds:
        kinds[_ID] = _id_kind(layer)
    return Survey(rows, kinds, finder)


def _id_kind(layer: SourceLayer) -> Kind:
    """Tell whether the ids fit the ordinary type; raise ImportRefused if they are not integers."""
    most = 0
    for batch in layer.batches():
        if batch.num_rows:
            ends = pc.min_max(_ids(batch, BIGINT))
            most = max(most, ends["max"].as_py(), -ends["min"].as_py())
    return INTEGER if most < 2**31 - 1 else BIGINT


def _ids(batch: pa.RecordBatch, kind: Kind) -> pa.Array:
    """Read the column cartodb_id."""
    values = batch.column(_ID)
    try:
        return (trimmed(values) if is_text(values.type) else values).cast(kind.arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise ImportRefused(2011, "not all of them are integers") from None


def _column_names(survey: Survey) -> dict[str, str]:
    """Name the columns of the table: those of the layer, but for the ones that are CARTO's."""
    names: dict[str, str] = {}
    for name in survey.kinds:
        wanted = _UNREAD_GEOMETRY if name == _GEOMETRY else name
        names[name] = wanted if wanted == name else unique(wanted, survey.kinds)
    return names


def _create(connection: Connection, table: str, survey: Survey, columns: dict[str, str]) -> None:
    """Create the table in its final shape, so that it need not be written again, without indexes as yet."""
    dimensions = "Z" if survey.finder is not None and survey.finder.has_z else ""
    id_type = survey.kinds.get(_ID, INTEGER)
    parts = [
        sql.SQL("cartodb_id {} NOT NULL").format(sql.SQL("bigserial" if id_type is BIGINT else "serial")),
        sql.SQL(f"the_geom geometry(Geometry{dimensions},4326)"),
        sql.SQL(f"the_geom_webmercator geometry(Geometry{dimensions},3857)"),
    ]
    parts += [
        sql.SQL("{} {}").format(sql.Identifier(columns[name]), sql.SQL(kind.sql))
        for name, kind in survey.kinds.items()
        if name != _ID
    ]
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(public(table), sql.SQL(", ").join(parts)))
    connection.execute(
        sql.SQL(
            "CREATE TRIGGER update_the_geom_webmercator_trigger BEFORE INSERT OR UPDATE OF the_geom ON {}"
            " FOR EACH ROW EXECUTE FUNCTION cartodb._cdb_update_the_geom_webmercator()"
        ).format(public(table))
    )


def _copy(connection: Connection, table: str, layer: SourceLayer, survey: Survey, columns: dict[str, str]) -> None:
    """Send the rows."""
    fields = [pa.field(_ID, pa.int64() if survey.kinds.get(_ID) is BIGINT else pa.int32())]
    fields += [pa.field(columns[name], _sent(kind)) for name, kind in survey.kinds.items() if name != _ID]
    if survey.finder is not None:
        fields.append(pa.field(_GEOMETRY, BYTES.arrow))
    schema = pa.schema(fields)
    encoder = ArrowToPostgresBinaryEncoder(schema)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        public(table), sql.SQL(", ").join(map(sql.Identifier, schema.names))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(encoder.write_header())
        first = 1
        for batch in _pieces(layer):
            arrays = _arrays(batch, survey, first)
            copy.write(encoder.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema)))
            first += batch.num_rows
        copy.write(encoder.finish())


def _pieces(layer: SourceLayer) -> Iterator[pa.RecordBatch]:
    """Cut batches into pieces that are small when they are encoded, too."""
    for batch in layer.batches():
        for start in range(0, batch.num_rows, _COPIED_ROWS):
            yield batch.slice(start, _COPIED_ROWS)


def _arrays(batch: pa.RecordBatch, survey: Survey, first: int) -> list[pa.Array]:
    """Make the columns of the table from those of the layer."""
    if _ID in survey.kinds:
        arrays = [_ids(batch, survey.kinds[_ID])]
    else:
        arrays = [pa.array(np.arange(first, first + batch.num_rows, dtype=np.int32))]
    arrays += [
        convert(batch.column(name), kind).cast(_sent(kind)) for name, kind in survey.kinds.items() if name != _ID
    ]
    if survey.finder is not None:
        arrays.append(to_ewkb(survey.finder.geometries(batch), has_z=survey.finder.has_z))
    return arrays


def _sent(kind: Kind) -> pa.DataType:
    """Return the type that is encoded; the encoder knows timestamps by their bare number."""
    return pa.timestamp("us") if kind is TIMESTAMP else kind.arrow


def _number(connection: Connection, table: str) -> None:
    """Make cartodb_id the key, and let it go on behind the last row."""
    connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (cartodb_id)").format(public(table)))
    connection.execute(
        sql.SQL(
            "SELECT setval(pg_get_serial_sequence({}, 'cartodb_id'), greatest(coalesce(max(cartodb_id), 0), 0) + 1,"
            " false) FROM {}"
        ).format(sql.Literal(public(table).as_string(connection)), public(table))
    )
