"""Maps: anonymous ones and named ones, their tiles, pictures, attributes and figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import pandas as pd
from xyzservices import TileProvider

from cartoframes_lite._client import Client
from cartoframes_lite._client.answers import given
from cartoframes_lite._client.maps import Layergroup, address
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError
from cartoframes_lite.layers import Layer, LegendItem

TileFormat = Literal["png", "mvt"]
PictureFormat = Literal["png", "jpg"]
Center = tuple[float, float]
Box = tuple[float, float, float, float]

_VERSION = "1.8.0"
_ATTRIBUTION = '<a href="https://carto.com/attributions">CARTO</a>'
_EXPIRED = "map configuration token"
_LISTS = {"aggregation": "categories", "search": "categories", "histogram": "bins"}

T = TypeVar("T")


class InstantiatedMap:
    """A map that the server draws.

    The server forgets maps that nobody looks at after some minutes; it is then told of the map once more.

    Parameters
    ----------
    credentials : Credentials
    instantiate : callable
        Asks the server for the map.
    auth_token : str, optional
        One of the tokens of a named map.
    needs_key : bool
        Whether tiles need the key, as those of private tables on anonymous maps do.
    """

    def __init__(
        self,
        credentials: Credentials,
        instantiate: Callable[[], Layergroup],
        *,
        auth_token: str | None = None,
        needs_key: bool = False,
    ) -> None:
        self._credentials = credentials
        self._maps = Client(credentials).maps
        self._instantiate = instantiate
        # Of requests of our own; they have the key in their header.
        self._token = given(auth_token=auth_token)
        self._secrets = self._token | given(
            api_key=credentials.api_key if needs_key and not credentials.is_public else None
        )
        self._group: Layergroup | None = None

    @property
    def layergroup_id(self) -> str:
        """What the server calls the map."""
        return self._instantiated.id

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the server tells of its layers and dataviews."""
        return self._instantiated.metadata

    def tile_url(
        self, layer: int | Sequence[int] | None = None, format: TileFormat = "png", *, retina: bool = False
    ) -> str:
        """Write the template of the URLs of tiles, with ``{z}``, ``{x}`` and ``{y}``.

        If the map needs a key or a token to be seen, the URL has it: whoever has the URL can see the map.

        Parameters
        ----------
        layer : int or sequence of int, optional
            Numbers of layers, from 0. None: all of them.
        format : {"png", "mvt"}
            Pictures, or vector tiles.
        retina : bool, default False
            Pictures of 512 x 512 pixels; vector tiles have no pixels.
        """
        if format not in ("png", "mvt"):
            raise ValueError(f'format must be "png" or "mvt", not {format!r}')
        layers = "" if layer is None else f"/{_numbers(layer)}"
        scale = "@2x" if retina and format == "png" else ""
        path = f"{self.layergroup_id}{layers}/{{z}}/{{x}}/{{y}}{scale}.{format}"
        return address(str(self._credentials.base_url), path, self._secrets, quoted=str)

    def tile_provider(
        self, layer: int | Sequence[int] | None = None, *, retina: bool = False, attribution: str = _ATTRIBUTION
    ) -> TileProvider:
        """Give the tiles to a map library: ``gdf.explore(tiles=...)``, folium, ipyleaflet, contextily.

        Parameters
        ----------
        layer, retina
            As in ``tile_url``.
        attribution : str
            HTML that is shown in a corner of the map.

        Returns
        -------
        xyzservices.TileProvider
        """
        url = self.tile_url(layer, retina=retina)
        plain = attribution.split(">")[1].split("<")[0] if ">" in attribution else attribution
        return TileProvider(name="CARTO", url=url, attribution=plain, html_attribution=attribution)

    def static_image(
        self,
        width: int,
        height: int,
        *,
        center: Center | None = None,
        zoom: int | None = None,
        bbox: Box | None = None,
        format: PictureFormat = "png",
    ) -> bytes:
        """Draw a picture.

        Parameters
        ----------
        width, height : int
            In pixels.
        center : tuple of (float, float), optional
            Longitude and latitude in degrees; with ``zoom``.
        zoom : int, optional
        bbox : tuple of (west, south, east, north), optional
            In degrees; in the place of ``center`` and ``zoom``.
        format : {"png", "jpg"}

        Returns
        -------
        bytes
            The file.
        """
        if format not in ("png", "jpg"):
            raise ValueError(f'format must be "png" or "jpg", not {format!r}')
        if (bbox is None) == (center is None) or (center is None) != (zoom is None):
            raise ValueError("give either center and zoom, or bbox")
        if bbox is not None:
            place = f"bbox/{{id}}/{','.join(f'{degree:.10g}' for degree in bbox)}"
        else:
            assert center is not None  # or the above would have been raised
            place = f"center/{{id}}/{zoom}/{center[1]:.10g}/{center[0]:.10g}"
        path = f"static/{place}/{width}/{height}.{format}"
        return self._asking(lambda group: self._maps.fetch(path.format(id=group.id), self._token))

    def attributes(self, layer: int, feature_id: int) -> dict[str, Any]:
        """Ask for the attributes of a feature that the layer offers.

        Parameters
        ----------
        layer : int
            Number of the layer, from 0.
        feature_id : int
            Its ``cartodb_id``, as a rule.

        Raises
        ------
        NotFound
            If there is no such feature.
        """
        path = f"{layer}/attributes/{feature_id}"
        found: dict[str, Any] = self._asking(lambda group: self._maps.read(f"{group.id}/{path}", self._token))
        return found

    def dataview(
        self,
        name: str,
        *,
        bbox: Box | None = None,
        own_filter: bool = True,
        filters: Mapping[str, Any] | None = None,
        search: str | None = None,
        bins: int | None = None,
        start: float | None = None,
        end: float | None = None,
        aggregation: str | None = None,
        offset: int | None = None,
        categories: int | None = None,
    ) -> pd.DataFrame | float | None:
        """Ask for the figures of a dataview.

        Parameters
        ----------
        name : str
            As the configuration has it.
        bbox : tuple of (west, south, east, north), optional
            In degrees: only of what is there.
        own_filter : bool, default True
            Whether the filter of this dataview itself holds.
        filters : mapping, optional
            As the API has them.
        search : str, optional
            Words, for the categories of an aggregation.
        bins : int, optional
            Number of bins of a histogram.
        start, end : float, optional
            Limits of a histogram; of one of times, in seconds since 1970.
        aggregation : str, optional
            Unit of a histogram of times: "minute", "hour", "day", "week", "month", "quarter", "year" ...
        offset : int, optional
            Time zone of a histogram of times, in seconds east of UTC.
        categories : int, optional
            How many categories to tell apart.

        Returns
        -------
        DataFrame, float or None
            A row for each category or bin; of a formula the number.
        """
        query: dict[str, Any] = {**self._token, "own_filter": int(own_filter)}
        query |= given(bins=bins, start=start, end=end, aggregation=aggregation, offset=offset, categories=categories)
        if bbox is not None:
            query["bbox"] = ",".join(map(str, bbox))
        if filters is not None:
            query["filters"] = json.dumps(dict(filters))
        path = f"dataview/{name}"
        if search is not None:
            path, query["q"] = f"{path}/search", search
        answer = self._asking(lambda group: self._maps.read(f"{group.id}/{path}", query))
        return _figures(answer)

    @property
    def _instantiated(self) -> Layergroup:
        if self._group is None:
            self._group = self._instantiate()
        return self._group

    def _asking(self, ask: Callable[[Layergroup], T]) -> T:
        """Ask for something of the map; if the server has forgotten it, tell it of the map once more."""
        try:
            return ask(self._instantiated)
        except APIError as error:
            if error.status not in (400, 404) or _EXPIRED not in str(error):
                raise
        self._group = None
        return ask(self._instantiated)


class AnonymousMap(InstantiatedMap):
    """A map that is made of a configuration, and forgotten when nobody looks at it any more.

    Parameters
    ----------
    layers_or_config : Layer, list of Layer or mapping, or mapping
        Layers, the lowest first, also as the API has them; or a whole MapConfig with ``layers``, ``dataviews`` ...
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file.

    Examples
    --------
    >>> m = cfl.AnonymousMap([{"type": "cartodb", "options": {  # doctest: +SKIP
    ...     "sql": "SELECT * FROM stations", "cartocss": "#layer {marker-width: 7}", "cartocss_version": "2.3.0"}}])
    >>> gdf.explore(tiles=m.tile_provider())  # doctest: +SKIP
    """

    def __init__(
        self,
        layers_or_config: Layer | Sequence[Layer | Mapping[str, Any]] | Mapping[str, Any],
        credentials: Credentials | None = None,
    ) -> None:
        client = Client(credentials)
        self.legend: list[LegendItem] = []

        def instantiate() -> Layergroup:
            return client.maps.instantiate(self._config(client, layers_or_config))

        super().__init__(client.credentials, instantiate, needs_key=True)

    def _config(
        self, client: Client, given_: Layer | Sequence[Layer | Mapping[str, Any]] | Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write the MapConfig, and note what the colours mean."""
        if isinstance(given_, Mapping):
            return {"version": _VERSION, **given_}
        layers, self.legend = [], []
        for layer in [given_] if isinstance(given_, Layer) else given_:
            if isinstance(layer, Layer):
                layer, legend = layer.config(client)
                self.legend += legend
            layers.append(dict(layer))
        return {"version": _VERSION, "layers": layers}


@dataclass(frozen=True, slots=True)
class NamedMap:
    """A map whose template the server keeps, under a name; for the master key.

    Parameters
    ----------
    name : str
    credentials : Credentials, optional
    """

    name: str
    credentials: Credentials | None = None

    @classmethod
    def create(cls, template: Mapping[str, Any], credentials: Credentials | None = None) -> NamedMap:
        """Create a named map.

        Parameters
        ----------
        template : mapping
            ``version``, ``name``, ``auth``, ``placeholders``, ``layergroup`` (a MapConfig), ``view``.
        credentials : Credentials, optional

        Raises
        ------
        SQLError
            If the template is not valid, or there is a map of this name.
        """
        client = Client(credentials)
        return cls(client.maps.create_template(template), client.credentials)

    @classmethod
    def get(cls, name: str, credentials: Credentials | None = None) -> NamedMap:
        """Find a named map; NotFound if there is none."""
        client = Client(credentials)
        client.maps.read_template(name)
        return cls(name, client.credentials)

    @classmethod
    def list(cls, credentials: Credentials | None = None) -> Sequence[NamedMap]:
        """List the named maps of the account, by name."""
        client = Client(credentials)
        return [cls(name, client.credentials) for name in sorted(client.maps.list_templates())]

    @property
    def template(self) -> dict[str, Any]:
        """The template, as the server has it."""
        return Client(self.credentials).maps.read_template(self.name)

    def update(self, template: Mapping[str, Any] | None = None, **changes: Any) -> None:
        """Replace the template, or members of it.

        Parameters
        ----------
        template : mapping, optional
            None: the one that the server has.
        **changes
            Members to replace: ``auth``, ``placeholders``, ``layergroup``, ``view``.
        """
        client = Client(self.credentials)
        whole = dict(client.maps.read_template(self.name) if template is None else template)
        client.maps.update_template(self.name, {**whole, **changes, "name": self.name})

    def delete(self) -> None:
        """Delete it; NotFound if it is gone."""
        Client(self.credentials).maps.delete_template(self.name)

    def instantiate(self, params: Mapping[str, Any] | None = None, auth_token: str | None = None) -> InstantiatedMap:
        """Make the map.

        Parameters
        ----------
        params : mapping, optional
            Values for the placeholders; None takes their defaults.
        auth_token : str, optional
            One of the tokens of the map, if it wants one. It is part of the URLs of tiles.
        """
        client = Client(self.credentials)
        return InstantiatedMap(
            client.credentials,
            lambda: client.maps.instantiate_named(self.name, params, auth_token=auth_token),
            auth_token=auth_token,
        )


def _numbers(layer: int | Sequence[int]) -> str:
    return str(layer) if isinstance(layer, int) else ",".join(map(str, layer))


def _figures(answer: Mapping[str, Any]) -> pd.DataFrame | float | None:
    """Make a frame of categories and bins, and a number of a formula."""
    kind = answer.get("type", "search")
    if kind == "formula":
        result: float | None = answer.get("result")
        return result
    return pd.DataFrame(list(answer.get(_LISTS.get(kind, "categories")) or ()))
