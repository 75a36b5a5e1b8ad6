"""The content of a map page: what its scripts read as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cartoframes_lite._client.http.json_fields import drop_none
from cartoframes_lite._client.maps import build_url

_TILE = "{z}/{x}/{y}"


@dataclass(frozen=True, slots=True)
class Instantiation:
    """The request that instantiates a map. A page sends it each time it is opened.

    Attributes
    ----------
    path : str
        "" or ``"named/NAME"``.
    body : mapping
        MapConfig of an anonymous map, or parameters of a named map.
    query : mapping
        Query parameters of this and all following requests: the token of a named map, if it has any.
    """

    path: str
    body: Mapping[str, Any]
    query: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_named_map(cls, name: str, params: Mapping[str, Any], auth_token: str | None) -> Instantiation:
        """Return the request that instantiates a named map."""
        return cls(f"named/{name}", params, drop_none(auth_token=auth_token))


@dataclass(frozen=True, slots=True)
class MapServer:
    """The server that a page instantiates its map on.

    Attributes
    ----------
    base_url : str
        URL of the account.
    instantiation : Instantiation
    """

    base_url: str
    instantiation: Instantiation

    def url(self, path: str) -> str:
        """Return the URL of a path of the Maps API, with the token of the map if it has any."""
        return build_url(self.base_url, path, self.instantiation.query, quoted=str)

    def content(self) -> dict[str, Any]:
        """Return URL templates; ``{layers}`` stands for the indexes of the visible layers, as in "0,2"."""
        tiles = f"{{layergroup}}/{{layers}}/{_TILE}"
        return {
            "opening": {"url": self.url(self.instantiation.path), "body": dict(self.instantiation.body)},
            "dataview": self.url("{layergroup}/dataview/{name}"),
            "tiles": {"usual": self.url(f"{tiles}.png"), "retina": self.url(f"{tiles}@2x.png")},
        }


class PageLayer(Protocol):
    """A layer of a page."""

    @property
    def title(self) -> str:
        """Name of the layer; "" if it has none."""

    @property
    def legends(self) -> Sequence[Mapping[str, Any]]:
        """Legends, each with ``title``, ``kind``, ``items``, ``colors`` and ``limits``."""

    def content(self, server: MapServer | None) -> dict[str, Any]:
        """Return what the script of this type of layer reads: ``type``, ``title``, ``legends`` ..."""


@dataclass(frozen=True, slots=True)
class TileLayer:
    """A layer of tiles, and how its features are described.

    Attributes
    ----------
    index : int
        Index of the layer in the MapConfig, from 0.
    title : str
    legends : sequence of dict
        Each with ``title``, ``kind``, ``items``, ``colors`` and ``limits``.
    popup : sequence of str, optional
        Columns that are displayed on click. None: all columns except ``id``.
    hover : sequence of str
        Columns that are displayed while the pointer is over a feature.
    id : str
        Column that identifies a feature.
    has_grid : bool
        Whether the layer has UTFGrids; without them, it responds neither to clicks nor to the pointer.
    has_attributes : bool or None
        Whether the layer has the option ``attributes``, from which the page requests values that UTFGrids lack. None:
        unknown; the page requests them and ignores errors.
    """

    index: int
    title: str = ""
    legends: Sequence[Mapping[str, Any]] = ()
    popup: Sequence[str] | None = None
    hover: Sequence[str] = ()
    id: str = "cartodb_id"
    has_grid: bool = False
    has_attributes: bool | None = None

    @classmethod
    def of_options(cls, index: int, options: Any) -> TileLayer:
        """Create from the options of a layer in a MapConfig, None if they are not known."""
        if not isinstance(options, Mapping):
            return cls(index)
        columns = options.get("interactivity") or ()
        columns = columns.split(",") if isinstance(columns, str) else columns
        names = [str(name).strip() for name in columns] if isinstance(columns, Sequence) else []
        attributes = options.get("attributes")
        if not isinstance(attributes, Mapping) or not isinstance(attributes.get("id"), str):
            return cls(index, popup=_without_id(names, "cartodb_id"), has_attributes=False)
        more = attributes.get("columns")
        names += [str(name) for name in more if name not in names] if isinstance(more, list) else []
        id_column = attributes["id"]
        return cls(index, popup=_without_id(names, id_column), id=id_column, has_attributes=True)

    def content(self, server: MapServer | None) -> dict[str, Any]:
        """Return the content of the layer; a layer of tiles needs a server."""
        if server is None:
            raise ValueError(f"layer {self.index} has tiles, so the page needs a server")
        root = f"{{layergroup}}/{self.index}"
        has_attributes = self.has_grid and self.has_attributes is not False
        return {
            "type": "tiles",
            "index": self.index,
            "title": self.title,
            "legends": list(self.legends),
            "popup": None if self.popup is None else list(self.popup),
            "hover": list(self.hover),
            "grid": server.url(f"{root}/{_TILE}.grid.json") if self.has_grid else None,
            "attributes": server.url(f"{root}/attributes/{{id}}") if has_attributes else None,
            "hasAttributes": self.has_attributes is True,
            "id": self.id,
        }


def _without_id(columns: Sequence[str], id_column: str) -> Sequence[str] | None:
    """Return the columns without the id, None if there are no others."""
    return [name for name in columns if name != id_column] or None
