"""MapConfig: parsing and validation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cartoframes_lite.local.maps import aggregation
from cartoframes_lite.local.maps.aggregation import Aggregation
from cartoframes_lite.local.maps.analyses import Node, parse_nodes
from cartoframes_lite.local.maps.errors import MapError

_VERSION = re.compile(r"1\.[0-8]\.0|1\.[0-7]\.\d+")
_MAX_BUFFER_PIXELS = 4096
_MIXED_LAYERS_MESSAGE = (
    "The `mapnik` or `cartodb` layers must be consistent: `cartocss` option is either present or voided in all"
    " layers. Mixing is not allowed."
)
_KINDS = ("mapnik", "plain", "http", "torque")


@dataclass(frozen=True, slots=True)
class Attributes:
    """The exposed attributes of features: id column and columns."""

    id: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MapLayer:
    """A layer.

    Attributes
    ----------
    index : int
        Index among all layers, including those of unknown types.
    id, kind : str
    sql, cartocss : str, optional
    interactivity : tuple of str
        Columns in UTFGrids.
    attributes : Attributes, optional
    aggregation : Aggregation, optional
        Aggregation of points of large tables.
    options : mapping
        All options of the layer.
    """

    index: int
    id: str
    kind: str
    sql: str | None
    cartocss: str | None
    interactivity: tuple[str, ...]
    attributes: Attributes | None
    aggregation: Aggregation | None
    options: Mapping[str, Any]

    @property
    def context(self) -> dict[str, Any]:
        """The layer as described in error responses."""
        return {"id": self.id, "index": self.index, "type": self.kind}


@dataclass(frozen=True, slots=True)
class Dataview:
    """A dataview of a node; its options are validated at the first request for it."""

    name: str
    type: str
    source: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MapConfig:
    """A parsed MapConfig.

    Attributes
    ----------
    layers : tuple of MapLayer
        Layers of known types.
    layer_count : int
        Number of layers, including those of unknown types.
    nodes : mapping of str to Node
    dataviews : mapping of str to Dataview
    buffer_sizes : mapping of str to float
        Buffer around tiles in pixels, by format.
    """

    layers: tuple[MapLayer, ...]
    layer_count: int
    nodes: Mapping[str, Node]
    dataviews: Mapping[str, Dataview]
    buffer_sizes: Mapping[str, float]

    @property
    def queried(self) -> list[MapLayer]:
        """The layers that have a query."""
        return [layer for layer in self.layers if layer.kind == "mapnik"]

    @property
    def is_vector_only(self) -> bool:
        """Whether all layers are query layers without CartoCSS."""
        return bool(self.layers) and all(layer.kind == "mapnik" and layer.cartocss is None for layer in self.layers)

    def nodes_as_text(self) -> dict[str, str]:
        """Return the queries of the nodes, including filters."""
        return {name: node.query() for name, node in self.nodes.items()}

    def check_node(self, identity: str) -> None:
        """Raise MapError if there is no analysis node with an id."""
        if not any(node.id == identity for node in self.nodes.values()):
            raise MapError(f"Analysis node '{identity}' does not exist", status=404, kind="analysis")

    def layer(self, name: str) -> MapLayer | None:
        """Return the layer with an id or index; None if there is none."""
        return next((layer for layer in self.layers if name in (layer.id, str(layer.index))), None)


def parse_map_config(content: Any, filters: Mapping[str, Any] | None = None) -> MapConfig:
    """Parse a MapConfig.

    Parameters
    ----------
    content : object
        Decoded JSON.
    filters : mapping, optional
        Filters by name of the dataview.

    Raises
    ------
    MapError
    """
    content = content if isinstance(content, Mapping) else {}
    version = content.get("version") or "1.0.0"
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise MapError(f"Unsupported layergroup configuration version {version}")
    items = content.get("layers")
    if not isinstance(items, list):
        raise MapError("Missing layers array from layergroup config")
    dataviews = {name: _dataview(name, item) for name, item in _object(content, "dataviews").items()}
    nodes = parse_nodes(content.get("analyses") or [], dataviews.values(), filters or {})
    for dataview in dataviews.values():
        if dataview.source not in nodes:
            message = f'Node with `id="{dataview.source}"` not found for dataview "{dataview.name}"'
            raise MapError(message, kind="dataview")
    vector_only = all(_is_vector(item) for item in items)
    counts: Counter[str] = Counter()
    layers = [_layer(index, item, counts, nodes, vector_only=vector_only) for index, item in enumerate(items)]
    styled = {layer.cartocss is None for layer in layers if layer.kind == "mapnik"}
    if len(styled) > 1:
        raise MapError(_MIXED_LAYERS_MESSAGE, status=400, kind="mapconfig")
    known = tuple(layer for layer in layers if layer.kind in _KINDS)
    return MapConfig(known, len(layers), nodes, dataviews, _buffer_sizes(content))


def _layer(index: int, item: Any, counts: Counter[str], nodes: Mapping[str, Node], *, vector_only: bool) -> MapLayer:
    """Parse a layer; ``counts`` has the number of preceding layers by kind."""
    if not isinstance(item, Mapping) or not isinstance(item.get("options"), Mapping):
        raise MapError(f"Missing options from layer {index} of layergroup config")
    options, kind = item["options"], item.get("type")
    kind = "mapnik" if not kind or kind == "cartodb" else str(kind)
    name = f"layer{counts[kind]}" if kind == "mapnik" else f"{kind}-layer{counts[kind]}"
    counts[kind] += 1
    identity = str(item.get("id") or name)
    context = {"id": identity, "index": index, "type": kind}
    text, cartocss = _source(options, nodes, context), options.get("cartocss")
    if kind == "mapnik":
        _check_query_and_style(text, options, context)
    interactivity = options.get("interactivity") or []
    if isinstance(interactivity, str):
        interactivity = [column.strip() for column in interactivity.split(",")]
    if not isinstance(interactivity, list):
        raise MapError(f"Invalid interactivity for layer {index}", status=400, kind="layer", layer=context)
    return MapLayer(
        index=index,
        id=identity,
        kind=kind,
        sql=text,
        cartocss=cartocss if isinstance(cartocss, str) else None,
        interactivity=tuple(map(str, interactivity)),
        attributes=_attributes(options, context),
        aggregation=aggregation.parse_aggregation(options.get("aggregation"), context, vector_only=vector_only)
        if kind == "mapnik"
        else None,
        options=options,
    )


def _source(options: Mapping[str, Any], nodes: Mapping[str, Node], context: Mapping[str, Any]) -> str | None:
    """Return the query of a layer: its option ``sql``, or the query of an analysis node."""
    source = options.get("source")
    if isinstance(source, Mapping):
        node = nodes.get(str(source.get("id")))
        if node is None:
            message = f'Missing analysis node.id="{source.get("id")}" for layer={context["index"]}'
            raise MapError(message, kind="layer", layer=context)
        return node.query()
    text = options.get("sql")
    return text if isinstance(text, str) else None


def _check_query_and_style(text: str | None, options: Mapping[str, Any], context: Mapping[str, Any]) -> None:
    """Raise MapError if a layer has no query, or only one of ``cartocss`` and ``cartocss_version``."""
    styled = "cartocss" in options or "cartocss_version" in options or text is None
    for option in ("cartocss", "cartocss_version") if styled else ():
        if not isinstance(options.get(option), str):
            raise _missing_option(option, context)
    if not text or not text.strip():
        raise _missing_option("sql", context)


def _missing_option(option: str, context: Mapping[str, Any]) -> MapError:
    """Return the error for a missing option of a layer."""
    return MapError(f"Missing {option} for layer {context['index']} options", kind="layer", layer=context)


def _attributes(options: Mapping[str, Any], context: Mapping[str, Any]) -> Attributes | None:
    """Parse the option ``attributes``."""
    content = options.get("attributes")
    if content is None:
        return None
    columns = content.get("columns") if isinstance(content, Mapping) else None
    if not isinstance(columns, list) or not columns or not isinstance(content.get("id"), str):
        raise MapError("Attributes need an 'id' and 'columns'", kind="layer", layer=context)
    return Attributes(content["id"], tuple(map(str, columns)))


def _dataview(name: str, item: Any) -> Dataview:
    """Parse a dataview."""
    source = item.get("source") if isinstance(item, Mapping) else None
    if not isinstance(source, Mapping) or not source.get("id"):
        raise MapError(f'Missing `source.id` for dataview "{name}"', kind="dataview")
    options = item.get("options")
    return Dataview(name, str(item.get("type")), str(source["id"]), options if isinstance(options, Mapping) else {})


def _buffer_sizes(content: Mapping[str, Any]) -> dict[str, float]:
    """Parse the buffer sizes."""
    sizes = content.get("buffersize")
    if not isinstance(sizes, Mapping):
        return {}
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | float) or not 0 <= size <= _MAX_BUFFER_PIXELS:
            raise MapError(f'Buffer size of format "{name}" must be a number')
    return {str(name): float(size) for name, size in sizes.items()}


def _is_vector(item: Any) -> bool:
    """Return whether a layer has vector tiles only."""
    if not isinstance(item, Mapping) or item.get("type") not in (None, "", "mapnik", "cartodb"):
        return False
    options = item.get("options")
    return isinstance(options, Mapping) and not {"cartocss", "cartocss_version"} & options.keys()


def _object(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name) or {}
    if not isinstance(value, Mapping):
        raise MapError(f"`{name}` must be an object")
    return value
