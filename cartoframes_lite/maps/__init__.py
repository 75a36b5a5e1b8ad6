"""Maps of tables and queries: anonymous and named maps, their layers, and their display in notebooks."""

from cartoframes_lite.maps.anonymous import AnonymousMap
from cartoframes_lite.maps.instantiated import InstantiatedMap
from cartoframes_lite.maps.layers import Layer
from cartoframes_lite.maps.map import Map
from cartoframes_lite.maps.named import NamedMap
from cartoframes_lite.maps.styling import Legend, LegendItem

__all__ = ["AnonymousMap", "InstantiatedMap", "Layer", "Legend", "LegendItem", "Map", "NamedMap"]
