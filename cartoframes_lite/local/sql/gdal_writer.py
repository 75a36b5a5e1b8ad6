"""Rows of an Arrow file, written by GDAL. As a script it does so in a process of its own.

GDAL keeps Python's interpreter lock while it writes: seconds for 100,000 rows, in which a server could not
answer others.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

GEOMETRY = "the_geom"
GDAL_ERRORS = (
    DataLayerError,
    DataSourceError,
    FeatureError,
    FieldError,
    GeometryError,
    RuntimeError,
    pa.ArrowException,
)


@dataclass(frozen=True, slots=True)
class Output:
    """What is to be written.

    Attributes
    ----------
    source : str
        Path of an Arrow stream of texts, and of WKB in the column of geometry.
    path, layer, driver : str
    types : list of str
        Arrow type of each column, as a name.
    geometry_type : str
        As pyogrio calls it; empty if there is no geometry.
    layer_options, dataset_options : dict
    """

    source: str
    path: str
    layer: str
    driver: str
    types: list[str]
    geometry_type: str
    layer_options: dict[str, str]
    dataset_options: dict[str, str]


def write(output: Output) -> None:
    """Write the rows, some thousands at a time."""
    geometry: dict[str, str] = {}
    if output.geometry_type:
        geometry = {"geometry_name": GEOMETRY, "geometry_type": output.geometry_type, "crs": "EPSG:4326"}
    # GDAL's warnings, as of names that a format shortens, go to Python's, and nobody is there to see them.
    with pa.OSFile(output.source) as file, pa.ipc.open_stream(file) as rows, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        types = map(pa.type_for_alias, output.types)
        schema = pa.schema([pa.field(name, kind) for name, kind in zip(rows.schema.names, types, strict=True)])
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(schema, _converted(rows, schema)),
            output.path,
            layer=output.layer,
            driver=output.driver,
            layer_options=output.layer_options,
            dataset_options=output.dataset_options,
            **geometry,
        )


def _converted(rows: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Cast the texts of each batch."""
    for batch in rows:
        arrays = [convert(array, kind) for array, kind in zip(batch.columns, schema.types, strict=True)]
        yield pa.record_batch(arrays, schema=schema)


def convert(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast texts as PostgreSQL writes them; raise ArrowInvalid for what the type does not have."""
    if pa.types.is_boolean(kind):
        return pc.equal(array, "true")
    return array.cast(kind)


def main() -> int:
    """Write what the one argument, JSON, asks for; print why it cannot be done."""
    try:
        write(Output(**json.loads(sys.argv[1])))
    except GDAL_ERRORS as error:
        sys.stdout.write(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
