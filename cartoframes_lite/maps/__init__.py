"""Maps of tables and queries: anonymous and named maps, their layers, and their display in notebooks."""

from cartoframes_lite.maps.anonymous import AnonymousMap
from cartoframes_lite.maps.instantiated import InstantiatedMap
from cartoframes_lite.maps.layers import Layer
from cartoframes_lite.maps.map import Map
from cartoframes_lite.maps.named import NamedMap
from cartoframes_lite.maps.styling import Legend, LegendItem
from cartoframes_lite.maps.widgets import Categories, Formula, Histogram

__all__ = [
    "AnonymousMap",
    "Categories",
    "Formula",
    "Histogram",
    "InstantiatedMap",
    "Layer",
    "Legend",
    "LegendItem",
    "Map",
    "NamedMap",
]
