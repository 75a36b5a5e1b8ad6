"""Layers of a server as features or pictures that a page contains, so that it needs no server."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import shapely

from cartoframes_lite._client import Client
from cartoframes_lite._codec.names import quote
from cartoframes_lite.maps.feature_styles import style_features
from cartoframes_lite.maps.features import MAX_FEATURES, MAX_VERTICES, FeatureLayer
from cartoframes_lite.maps.json_values import json_values
from cartoframes_lite.maps.page import TileLayer
from cartoframes_lite.maps.page.viewport import HEIGHT_PIXELS, WIDTH_PIXELS, Viewport, around_center
from cartoframes_lite.maps.styling.cartocss import COLOR_COLUMN, SIZE_COLUMN, Appearance
from cartoframes_lite.maps.validation import BBox

_GEOMETRY = "cfl_geometry"
_MARGIN = 1.5  # size of a picture, relative to the initial view
# Center, zoom, width and height to a PNG of one layer.
LayerImage = Callable[[tuple[float, float], int, int, int], bytes]


@dataclass(frozen=True, slots=True)
class PictureLayer:
    """A layer of a page that is a picture, and does not change with the zoom.

    Attributes
    ----------
    image : bytes
        PNG with transparency.
    bbox : tuple of (west, south, east, north)
        Of the picture, in degrees.
    title : str
    legends : sequence of dict
    """

    image: bytes
    bbox: BBox
    title: str = ""
    legends: Sequence[Mapping[str, Any]] = ()

    def content(self, server: object = None) -> dict[str, Any]:
        """Return what images.js reads."""
        west, south, east, north = self.bbox
        return {
            "type": "picture",
            "title": self.title,
            "legends": list(self.legends),
            "popup": [],
            "hover": [],
            "image": f"data:image/png;base64,{b64encode(self.image).decode()}",
            "bounds": [[south, west], [north, east]],
        }


def embed_rows(
    client: Client, query: str, layer: TileLayer, appearance: Appearance, columns: Sequence[str]
) -> FeatureLayer | None:
    """Read the rows of a layer of a server as features of the page.

    Parameters
    ----------
    client : Client
    query : str
        Query of the layer, with the columns of its classes.
    layer : TileLayer
    appearance : Appearance
        What its style sheet was made of.
    columns : sequence of str
        Columns that the page needs in addition to those of ``popup`` and ``hover``.

    Returns
    -------
    FeatureLayer or None
        None if the page cannot draw so many features.
    """
    [size] = client.sql.rows(
        "SELECT count(*) AS features, coalesce(sum(ST_NPoints(the_geom_webmercator)), 0) AS vertices"
        f" FROM ({query}\n) AS source"
    )
    if size["features"] > MAX_FEATURES or size["vertices"] > MAX_VERTICES:
        return None
    classes = [(COLOR_COLUMN, appearance.colors), (SIZE_COLUMN, appearance.sizes)]
    class_columns = [name for name, used in classes if used is not None]
    shown = list(dict.fromkeys([*(layer.popup or ()), *layer.hover, *columns]))
    names = ", ".join(map(quote, dict.fromkeys([*shown, *class_columns])))
    geometry = "encode(ST_AsBinary(ST_Force2D(ST_Transform(the_geom_webmercator, 4326))), 'hex')"
    rows = client.sql.rows(
        f"SELECT {', '.join(filter(None, (f'{geometry} AS {_GEOMETRY}', names)))} FROM ({query}\n) AS source"
        " WHERE NOT ST_IsEmpty(the_geom_webmercator)"
    )
    geometries = shapely.from_wkb(np.array([row[_GEOMETRY] for row in rows], object))
    properties = {name: json_values(pd.Series([row[name] for row in rows], dtype=object)) for name in shown}
    none = np.zeros(len(rows), np.intp)
    colors, sizes = (none if used is None else np.array([row[name] for row in rows], np.intp) for name, used in classes)
    features = style_features(appearance, geometries, properties, colors=colors, sizes=sizes)
    return FeatureLayer(features, layer.title, layer.legends, layer.popup or (), layer.hover)


def embed_picture(layer: TileLayer, view: Viewport, image: LayerImage) -> PictureLayer:
    """Return a picture of a layer of a server, for the initial view of the page and what is around it.

    Parameters
    ----------
    layer : TileLayer
    view : Viewport
    image : callable
        Returns a static image of the layer.
    """
    center, zoom = view.fitted(WIDTH_PIXELS, HEIGHT_PIXELS)
    whole = round(zoom) + 1  # sharp on screens of a high resolution
    scale = math.pow(2, whole - zoom) * _MARGIN
    width, height, bbox = around_center(center, whole, round(WIDTH_PIXELS * scale), round(HEIGHT_PIXELS * scale))
    return PictureLayer(image(center, whole, width, height), bbox, layer.title, layer.legends)
