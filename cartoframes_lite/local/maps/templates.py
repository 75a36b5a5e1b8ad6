"""Templates of named maps: storage in PostgreSQL, validation and substitution of placeholders."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Json

from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.placeholders import escape_value, fill_placeholders, is_number, parse_size, style_of
from cartoframes_lite.local.state import State

_MAX_TEMPLATES = 4096
_MAX_NAME_CHARACTERS = 1000
_NAME = re.compile(r"[a-z0-9][0-9a-z_-]*+", re.IGNORECASE | re.ASCII)
_PLACEHOLDER = re.compile(r"[a-z][0-9a-z_]*+", re.IGNORECASE | re.ASCII)
# NUL and surrogates in JSON, which PostgreSQL does not store.
_UNSTORABLE = re.compile(r"\\u(?:0000|d[89a-f])")
_FORMATS = ("png", "png32", "mvt", "grid.json")


@dataclass(frozen=True, slots=True)
class Template:
    """The template of a named map.

    Attributes
    ----------
    content : mapping
    digest : str
        MD5 of the stored content; empty if the template is not stored.
    """

    content: Mapping[str, Any]
    digest: str = ""

    @property
    def name(self) -> str:
        """Name of the named map."""
        return str(self.content["name"])

    @property
    def auth(self) -> Mapping[str, Any]:
        """The member ``auth``: method and tokens."""
        auth = self.content["auth"]
        assert isinstance(auth, Mapping)  # checked when it was stored
        return auth

    @property
    def view(self) -> Mapping[str, Any]:
        """The member ``view``: initial view and ``preview_layers``; empty if there is none. It is not validated."""
        view = self.content.get("view")
        return view if isinstance(view, Mapping) else {}

    @property
    def fingerprint(self) -> str:
        """MD5 of the content, part of the tokens of instances."""
        return hashlib.md5(json.dumps(self.content).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()

    def is_same_map(self, other: Template) -> bool:
        """Return whether both templates have the same layers and placeholders; ``auth`` may differ."""
        return all(self.content.get(name) == other.content.get(name) for name in ("layergroup", "placeholders"))

    def instance(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the MapConfig of an instance, with the placeholders replaced.

        Placeholders are replaced in the SQL and CartoCSS of layers and in buffer sizes only, as in CARTO.

        Parameters
        ----------
        parameters : mapping
            Values by placeholder; ``styles`` has CartoCSS by layer index, ``buffersize`` numbers by format.

        Raises
        ------
        MapError
            If a value is invalid for the type of its placeholder.
        """
        values = {
            name: escape_value(name, placeholder["type"], parameters.get(name, placeholder["default"]))
            for name, placeholder in self.content["placeholders"].items()
        }
        group = copy.deepcopy(self.content["layergroup"])
        styles = parameters.get("styles")
        for index, layer in enumerate(group["layers"]):
            options = layer["options"]
            for name in ("sql", "cartocss"):
                if isinstance(options.get(name), str):
                    options[name] = fill_placeholders(options[name], values)
            style = style_of(styles, index) or parameters.get(f"styles{index}")
            if isinstance(style, str):
                options["cartocss"] = style
        if isinstance(group.get("buffersize"), Mapping):
            group["buffersize"] = {name: parse_size(name, size, values) for name, size in group["buffersize"].items()}
        sizes = parameters.get("buffersize")
        if isinstance(sizes, Mapping):
            known = group.get("buffersize") if isinstance(group.get("buffersize"), Mapping) else {}
            group["buffersize"] = {**known, **{name: sizes[name] for name in _FORMATS if is_number(sizes.get(name))}}
        return dict(group)


def is_authorized(auth: Mapping[str, Any], tokens: Any) -> bool:
    """Return whether the tokens of a request allow the use of a template."""
    if auth.get("method") != "token":
        return auth.get("method") == "open"
    tokens = tokens if isinstance(tokens, list) else [tokens]
    return any(token in auth["valid_tokens"] for token in tokens if token is not None)


class Templates:
    """The templates of the account. Methods block on PostgreSQL; call them in a worker thread.

    Parameters
    ----------
    state : State
    find_derived : callable, optional
        Returns the content of a template that is not stored, by its name, or None. CARTO has one for each dataset and
        map of the account.
    """

    def __init__(
        self, state: State, find_derived: Callable[[str], Mapping[str, Any] | None] = lambda name: None
    ) -> None:
        self._state, self._find_derived = state, find_derived

    def names(self) -> list[str]:
        """Return the names of all templates, oldest first."""
        with self._state.admin() as connection:
            query = "SELECT name FROM cartodb_local.map_templates ORDER BY created_at, name"
            return [row["name"] for row in connection.execute(query)]

    def find(self, name: str) -> Template | None:
        """Return the template with a name; None if there is none."""
        with self._state.admin() as connection:
            row = connection.execute(
                "SELECT template, md5(template::text) AS digest FROM cartodb_local.map_templates WHERE name = %s",
                (_without_nul(name),),
            ).fetchone()
        return self._derived(name) if row is None else Template(row["template"], row["digest"])

    def open(self, name: str, tokens: Any) -> Template:
        """Return the template with a name; raise MapError if there is none or the tokens do not allow its use."""
        template = self.find(name)
        if template is None:
            raise MapError(f"Template '{name}' of user '{self._state.user}' not found", status=404)
        if not is_authorized(template.auth, tokens):
            raise MapError("Unauthorized template instantiation", status=403)
        return template

    def get(self, name: str) -> Template:
        """Return the template with a name; raise MapError if there is none."""
        template = self.find(name)
        if template is None:
            raise MapError(f"Cannot find template '{name}' of user '{self._state.user}'", status=404)
        return template

    def current(self, template: Template) -> Template | None:
        """Return the current version of a template; None if it was deleted."""
        with self._state.admin() as connection:
            row = connection.execute(
                "SELECT CASE WHEN md5(template::text) <> %s THEN template END AS changed, md5(template::text) AS digest"
                " FROM cartodb_local.map_templates WHERE name = %s",
                (template.digest, template.name),
            ).fetchone()
        if row is None:
            return self._derived(template.name)
        if row["changed"] is None:
            return template
        return Template(row["changed"], row["digest"])

    def create(self, content: Any) -> Template:
        """Store a new template.

        Raises
        ------
        MapError
            If the template is invalid, its name exists, or there are too many templates.
        """
        template = _validate(content)
        with self._state.admin() as connection, connection.transaction():
            connection.execute("LOCK TABLE cartodb_local.map_templates IN SHARE ROW EXCLUSIVE MODE")
            row = connection.execute("SELECT count(*) AS count FROM cartodb_local.map_templates").fetchone()
            if row is not None and row["count"] >= _MAX_TEMPLATES:
                message = (
                    f"User '{self._state.user}' reached limit on number of templates ({row['count']}/{_MAX_TEMPLATES})"
                )
                raise MapError(message, status=409)
            cursor = connection.execute(
                "INSERT INTO cartodb_local.map_templates (name, template) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (template.name, Json(template.content)),
            )
        if not cursor.rowcount:
            raise MapError(f"Template '{template.name}' of user '{self._state.user}' already exists")
        return template

    def update(self, name: str, content: Any) -> Template:
        """Replace the template with a name."""
        template = _validate(content)
        if template.name != name:
            raise MapError(f"Cannot update name of a map template ('{name}' != '{template.name}')")
        with self._state.admin() as connection:
            cursor = connection.execute(
                "UPDATE cartodb_local.map_templates SET template = %s WHERE name = %s",
                (Json(template.content), name),
            )
        if not cursor.rowcount:
            raise self._not_found(name)
        return template

    def delete(self, name: str) -> None:
        """Delete a template."""
        with self._state.admin() as connection:
            cursor = connection.execute(
                "DELETE FROM cartodb_local.map_templates WHERE name = %s", (_without_nul(name),)
            )
        if not cursor.rowcount:
            raise self._not_found(name)

    def _derived(self, name: str) -> Template | None:
        """Return a template that is not stored; None if there is none."""
        content = self._find_derived(name)
        return None if content is None else Template(content)

    def _not_found(self, name: str) -> MapError:
        return MapError(f"Template '{name}' of user '{self._state.user}' does not exist", status=404)


def _without_nul(name: str) -> str:
    """Return a name from a URL without NUL, which PostgreSQL does not accept."""
    return name.replace("\0", "")


def _validate(content: Any) -> Template:
    """Validate a template and set its defaults; raise MapError if it is invalid."""
    content = content if isinstance(content, Mapping) else {}
    auth = content.get("auth") or {}
    auth = {"method": "open", **auth} if isinstance(auth, Mapping) else {"method": auth}
    content = {"auth": auth, **{key: item for key, item in content.items() if key != "auth"}}
    content.setdefault("placeholders", {})
    content["placeholders"] = content["placeholders"] or {}
    if content.get("version") != "0.0.1":
        raise MapError(f"Unsupported template version {content.get('version', 'undefined')}")
    name = content.get("name")
    if not name:
        raise MapError("Missing template name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > _MAX_NAME_CHARACTERS:
        raise MapError(f"Invalid characters in template name '{name}'")
    if _UNSTORABLE.search(json.dumps(content)):
        raise MapError("Invalid character in template", status=400)
    _check_layergroup(content.get("layergroup"))
    _check_placeholders(content["placeholders"])
    _check_auth(auth)
    return Template(content)


def _check_layergroup(group: Any) -> None:
    if not group or not isinstance(group, Mapping):
        raise MapError("Missing layergroup")
    layers = group.get("layers")
    if not isinstance(layers, list) or not layers:
        raise MapError("Missing or empty layers array from layergroup config")
    incomplete = [
        str(index)
        for index, layer in enumerate(layers)
        if not isinstance(layer, Mapping) or not isinstance(layer.get("options"), Mapping)
    ]
    if incomplete:
        raise MapError(f"Missing `options` in layergroup config for layers: {', '.join(incomplete)}")


def _check_placeholders(placeholders: Any) -> None:
    if not isinstance(placeholders, Mapping):
        raise MapError("`placeholders` must be an object")
    for name, placeholder in placeholders.items():
        if not _PLACEHOLDER.fullmatch(name):
            raise MapError(f"Invalid characters in placeholder name '{name}'")
        for member in ("default", "type"):
            if not isinstance(placeholder, Mapping) or member not in placeholder:
                raise MapError(f"Missing {member} for placeholder '{name}'")


def _check_auth(auth: Mapping[str, Any]) -> None:
    if auth["method"] == "token":
        if not isinstance(auth.get("valid_tokens"), list):
            raise MapError("Invalid 'token' authentication: missing valid_tokens")
        if not auth["valid_tokens"]:
            raise MapError("Invalid 'token' authentication: no valid_tokens")
    elif auth["method"] != "open":
        raise MapError(f"Unsupported authentication method: {auth['method']}")
