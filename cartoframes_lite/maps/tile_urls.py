"""URL templates of tiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from cartoframes_lite._client.maps import Layergroup, build_url
from cartoframes_lite.credentials import Credentials

TileFormat = Literal["png", "mvt", "grid.json"]


@dataclass(frozen=True, slots=True)
class TileSelection:
    """The tiles that a URL template is for.

    Attributes
    ----------
    layer : int, sequence of int or None
        Layer indexes, from 0. None: all layers.
    format : {"png", "mvt", "grid.json"}
    retina : bool
        PNG tiles of 512 x 512 pixels.

    Raises
    ------
    ValueError
        If the format is unknown, or ``grid.json`` is requested of several layers.
    """

    layer: int | Sequence[int] | None
    format: TileFormat
    retina: bool

    def __post_init__(self) -> None:
        if self.format not in get_args(TileFormat):
            raise ValueError(f"format must be one of {get_args(TileFormat)}, not {self.format!r}")
        if self.format == "grid.json" and (self.layer is None or isinstance(self.layer, Iterable)):
            raise ValueError(f"format grid.json needs the index of one layer, not layer={self.layer!r}")

    def path(self, layergroup: Layergroup) -> str:
        """Return the path of the tiles, relative to the Maps API; raise ValueError if a layer does not exist."""
        layer = self.layer
        indexes = [] if layer is None else list(layer) if isinstance(layer, Iterable) else [layer]
        layer_count = len(layergroup.metadata.get("layers", ()))
        if any(not 0 <= index < layer_count for index in indexes):
            raise ValueError(f"layer {layer} does not exist: the map has layers 0 to {layer_count - 1}")
        layers = f"/{','.join(map(str, indexes))}" if indexes else ""
        scale = "@2x" if self.retina and self.format == "png" else ""
        return f"{layergroup.id}{layers}/{{z}}/{{x}}/{{y}}{scale}.{self.format}"


@dataclass(frozen=True, slots=True)
class TileURL:
    """A URL template with ``{z}``, ``{x}``, ``{y}`` and, if there are subdomains, ``{s}``.

    Attributes
    ----------
    template : str
    subdomains : sequence of str
        Values of ``{s}``.
    """

    template: str
    subdomains: Sequence[str]

    @property
    def without_subdomains(self) -> str:
        """The URL template with the first subdomain."""
        return self.template.replace("{s}", self.subdomains[0] if self.subdomains else "")


def build_tile_url(
    credentials: Credentials, layergroup: Layergroup, tiles: TileSelection, query: Mapping[str, str]
) -> TileURL:
    """Compose the URL template of tiles, on the CDN of the layergroup if it has one.

    Parameters
    ----------
    credentials : Credentials
        Of the account.
    layergroup : Layergroup
    tiles : TileSelection
    query : mapping
        Key or token, if the map is not public.
    """
    base_url, subdomains = str(credentials.base_url), []
    if cdn := layergroup.cdn_templates.get(urlsplit(base_url).scheme):
        base_url, subdomains = f"{cdn['url'].rstrip('/')}/{credentials.username}", list(cdn.get("subdomains") or [])
    return TileURL(build_url(base_url, tiles.path(layergroup), query, quoted=str), subdomains)
