"""Write ``.carto`` files: ZIP archives of a JSON description of a dataset or map and a GeoPackage per table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import psycopg
import pyarrow as pa
import pyogrio
from psycopg import sql

from cartoframes_lite.local.catalog.dataset_tables import GeometryTable, columns
from cartoframes_lite.local.catalog.visualizations import Visualization

FORMAT_VERSION = "2.1.3"
_BATCH_ROWS = 10_000
_GEOMETRY = "the_geom"
_DERIVED = "the_geom_webmercator"
# Arrow types of PostgreSQL types that GDAL supports; other types are written as text.
_TYPES = {
    "boolean": pa.bool_(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "numeric": pa.float64(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "timestamp without time zone": pa.timestamp("ms"),
    "timestamp with time zone": pa.timestamp("ms", "UTC"),
}
# Infinity and years outside 1 to 9999, which Python and GDAL cannot represent, become NULL.
_TIME = "CASE WHEN {column} BETWEEN '0001-01-01' AND '9999-12-31' THEN {column} END"


def description(visualization: Visualization, tables: Sequence[Visualization], user: str) -> dict[str, Any]:
    """Return the content of the archive's JSON file for a dataset or map.

    Parameters
    ----------
    visualization : Visualization
    tables : sequence of Visualization
        The exported datasets, bottom layer first.
    user : str
        Name of the account.
    """
    layers = [
        {
            "kind": "carto",
            "order": number,
            "options": {
                "type": "CartoDB",
                "table_name": layer_name(table),
                "user_name": user,
                "query": "",
                "sql_wrap": None,
                "visible": True,
            },
        }
        for number, table in enumerate(tables, 1)
    ]
    keys = (
        "id",
        "type",
        "name",
        "display_name",
        "title",
        "description",
        "tags",
        "privacy",
        "license",
        "attributions",
    )
    return {
        "version": FORMAT_VERSION,
        "visualization": {
            **{name: getattr(visualization, name) for name in keys},
            "source": visualization.source,
            "kind": visualization.kind,
            "locked": visualization.locked,
            "version": 3,
            "created_at": visualization.created_at.isoformat(),
            "updated_at": visualization.updated_at.isoformat(),
            "map": {"id": visualization.map_id},
            "layers": layers,
            "overlays": [],
            "analyses": [],
            "user": {"username": user},
            "permission": {"access_control_list": []},
            "synchronization": None,
        },
    }


def layer_name(table: Visualization) -> str:
    """Return the name of a table in an archive."""
    schema, name = table.table
    return name if schema == "public" else f"{schema}_{name}"


def write_table(
    connection: psycopg.Connection[dict[str, Any]],
    table: Visualization,
    geometry: Sequence[GeometryTable],
    directory: Path,
    check: Callable[[], None],
) -> Path:
    """Write a table to a GeoPackage, batch by batch.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection of the owner, in a transaction.
    table : Visualization
        A dataset.
    geometry : sequence of GeometryTable
        All tables with a geometry column in EPSG:4326.
    directory : Path
    check : callable
        Called between batches; its exceptions abort the export.

    Returns
    -------
    Path
        The GeoPackage.

    Raises
    ------
    psycopg.Error, pyarrow.ArrowException, pyogrio.errors.DataSourceError
        If the table cannot be read: psycopg.Error before writing starts, the others while writing.
    """
    spatial = any(table.table_oid == one.oid for one in geometry)
    assert table.table_oid is not None  # set for datasets
    found = [(name, kind) for name, kind in columns(connection, table.table_oid) if name != _DERIVED]
    if not found:
        raise psycopg.errors.UndefinedTable(f"table {table.name} does not exist")
    schema = pa.schema([_field(name, kind, spatial) for name, kind in found])
    path = directory / f"{layer_name(table)}.gpkg"
    rows = pa.RecordBatchReader.from_batches(schema, _batches(connection, table.table, found, schema, check))
    _write(rows, path, spatial)
    return path


def _write(rows: pa.RecordBatchReader, path: Path, spatial: bool) -> None:
    """Write a GeoPackage."""
    fid_columns = sum(name.lower().startswith("fid") for name in rows.schema.names)
    geometry = {"geometry_name": _GEOMETRY, "geometry_type": "Unknown", "crs": "EPSG:4326"} if spatial else {}
    pyogrio.write_arrow(
        rows,
        path,
        layer=path.stem,
        driver="GPKG",
        # A column named like the FID would replace the row numbers of the GeoPackage.
        layer_options={"FID": f"fid_{fid_columns}" if fid_columns else "fid", "GEOMETRY_NAME": _GEOMETRY},
        **geometry,
    )


def write_archive(path: Path, visualization_id: str, described: dict[str, Any], files: Sequence[Path]) -> None:
    """Write an archive of a description and GeoPackages, in a folder named after the map."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        described_json = json.dumps(described, ensure_ascii=False)
        archive.writestr(f"{visualization_id}/{visualization_id}.carto.json", described_json)
        for file in files:
            archive.write(file, f"{visualization_id}/{file.name}")


def _field(name: str, kind: str, spatial: bool) -> pa.Field:
    """Return the Arrow field of a column."""
    if spatial and name == _GEOMETRY:
        return pa.field(name, pa.binary())
    return pa.field(name, _TYPES.get(kind, pa.string()))


def _batches(
    connection: psycopg.Connection[dict[str, Any]],
    table: tuple[str, str],
    found: Sequence[tuple[str, str]],
    schema: pa.Schema,
    check: Callable[[], None],
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table in batches."""
    listed = sql.SQL(", ").join(
        _expression(sql.Identifier(name), kind, schema.field(at)) for at, (name, kind) in enumerate(found)
    )
    query = sql.SQL("SELECT {} FROM {}").format(listed, sql.Identifier(*table))
    with connection.cursor("export", row_factory=psycopg.rows.tuple_row) as cursor:
        cursor.execute(query, binary=True)
        while rows := cursor.fetchmany(_BATCH_ROWS):
            check()
            values = zip(*rows, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(values, schema, strict=True)]
            yield pa.record_batch(arrays, schema=schema)


def _expression(column: sql.Identifier, kind: str, field: pa.Field) -> sql.Composable:
    """Return the SQL expression that reads a column as the type of its Arrow field."""
    if pa.types.is_temporal(field.type):
        return sql.SQL(_TIME).format(column=column)
    if kind == "numeric":
        return sql.SQL("{}::float8").format(column)
    if pa.types.is_binary(field.type) and kind != "bytea":
        return sql.SQL("ST_AsBinary({}, 'NDR')").format(column)
    return sql.SQL("{}::text").format(column) if pa.types.is_string(field.type) else column
