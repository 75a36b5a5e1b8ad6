"""Detect columns of country names or codes and return the geometries of the countries."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from unidecode import unidecode

from cartoframes_lite.local.imports.files.geometry import Geometries
from cartoframes_lite.local.imports.files.layers import SourceLayer
from cartoframes_lite.local.imports.files.type_guessing import is_text, trim

_NAMES = (
    "country",
    "country_name",
    "countryname",
    "country_code",
    "countrycode",
    "nation",
    "pais",
    "pays",
    "land",
    "paese",
    "iso",
    "iso3",
    "iso_a3",
    "iso_code",
    "admin",
    "adm0_a3",
)
_MIN_FRACTION = 0.5  # share of values that must be countries


class CountryDetector:
    """Detect a text column of country names or three-letter ISO codes. The column is kept."""

    def __init__(self, column: str) -> None:
        self._column = column
        self.consumed: str | None = None
        self.has_z = False
        self._values = self._known = 0

    @property
    def found(self) -> bool:
        """Whether most of the values are countries."""
        return self._known > self._values * _MIN_FRACTION

    def inspect(self, batch: pa.RecordBatch) -> None:
        """Count the values that are countries."""
        values = trim(batch.column(self._column)).drop_null()
        self._values += len(values)
        self._known += sum(_key(value) in _shapes() for value in values.to_pylist())

    def geometries(self, batch: pa.RecordBatch) -> Geometries:
        """Return the geometries of the countries; None for unknown ones."""
        values = pc.fill_null(batch.column(self._column), "").to_pylist()
        shapes: Geometries = np.full(len(values), None, object)
        shapes[:] = [_shapes().get(_key(value)) for value in values]
        return shapes


def country_detector(layer: SourceLayer) -> list[CountryDetector]:
    """Return detectors for the columns of a layer that may contain countries."""
    texts = [field.name for field in layer.schema if is_text(field.type)]
    return [CountryDetector(name) for name in _NAMES if name in texts]


def _key(name: str) -> str:
    return unidecode(name).strip().casefold()


@cache
def _shapes() -> dict[str, shapely.Geometry]:
    """Load the country geometries of the package, keyed by name and code."""
    source = resources.files("cartoframes_lite").joinpath("data", "countries.geojson")
    if not source.is_file():
        return {}
    features = json.loads(source.read_text("utf-8"))["features"]
    shapes: dict[str, shapely.Geometry] = {}
    for feature in features:
        shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        for member in ("name", "iso_a3"):
            shapes[_key(feature["properties"][member])] = shape
    return shapes
