"""Templates of named maps: kept in PostgreSQL, and filled in."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Json

from ..state import State
from .refusals import MapError

_MOST = 4096
_NAME = re.compile(r"[a-z0-9][0-9a-z_-]*", re.IGNORECASE | re.ASCII)
_PLACEHOLDER = re.compile(r"[a-z][0-9a-z_]*", re.IGNORECASE | re.ASCII)
_MARK = re.compile(r"<%=\s*(\w+)\s*%>")
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_COLOR = re.compile(r"[a-zA-Z]+|#[0-9a-fA-F]{3,6}")


@dataclass(frozen=True, slots=True)
class Template:
    """A named map, as it was given."""

    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.content["name"])

    @property
    def auth(self) -> Mapping[str, Any]:
        """Who may instantiate it."""
        auth = self.content["auth"]
        assert isinstance(auth, Mapping)  # checked when it was stored
        return auth

    @property
    def fingerprint(self) -> str:
        """What changes when the template does."""
        return hashlib.md5(json.dumps(self.content).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()

    def instance(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Fill in the placeholders; return a MapConfig.

        Parameters
        ----------
        parameters : mapping
            Values by placeholder. ``styles`` holds CartoCSS by the index of the layer.

        Raises
        ------
        MapError
            If a value is not of its placeholder's type.
        """
        values = {
            name: _escaped(name, placeholder["type"], parameters.get(name, placeholder["default"]))
            for name, placeholder in self.content["placeholders"].items()
        }
        group = copy.deepcopy(self.content["layergroup"])
        for name in ("layers", "analyses", "dataviews"):
            if name in group:
                group[name] = _filled(group[name], values)
        if isinstance(group.get("buffersize"), Mapping):
            group["buffersize"] = {key: _size(_filled(size, values)) for key, size in group["buffersize"].items()}
        styles = parameters.get("styles")
        for index, layer in enumerate(group["layers"]):
            style = styles.get(str(index)) if isinstance(styles, Mapping) else None
            style = style or parameters.get(f"styles{index}")
            if isinstance(style, str):
                layer["options"]["cartocss"] = style
        return dict(group)


def is_authorized(auth: Mapping[str, Any], tokens: Any) -> bool:
    """Say whether one of the tokens of a request opens a template."""
    if auth.get("method") != "token":
        return auth.get("method") == "open"
    tokens = tokens if isinstance(tokens, list) else [tokens]
    return any(token in auth["valid_tokens"] for token in tokens if token is not None)


class Templates:
    """The templates of the account. Calls wait for PostgreSQL: they belong in a worker thread.

    Parameters
    ----------
    state : State
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def names(self) -> list[str]:
        """Return the names of all."""
        with self._state.admin() as connection:
            query = "SELECT name FROM cartodb_local.map_templates ORDER BY created_at, name"
            return [row["name"] for row in connection.execute(query)]

    def find(self, name: str) -> Template | None:
        """Return the template of a name."""
        with self._state.admin() as connection:
            row = connection.execute(
                "SELECT template FROM cartodb_local.map_templates WHERE name = %s", (_plain(name),)
            ).fetchone()
        return None if row is None else Template(row["template"])

    def create(self, content: Any) -> Template:
        """Store a new template.

        Raises
        ------
        MapError
            If it is not valid, its name is taken, or there are too many.
        """
        template = _checked(content)
        with self._state.admin() as connection, connection.transaction():
            connection.execute("LOCK TABLE cartodb_local.map_templates IN SHARE ROW EXCLUSIVE MODE")
            row = connection.execute("SELECT count(*) AS count FROM cartodb_local.map_templates").fetchone()
            if row is not None and row["count"] >= _MOST:
                message = f"User '{self._state.user}' reached limit on number of templates ({row['count']}/{_MOST})"
                raise MapError(message, status=409)
            made = connection.execute(
                "INSERT INTO cartodb_local.map_templates (name, template) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (template.name, Json(template.content)),
            )
        if not made.rowcount:
            raise MapError(f"Template '{template.name}' of user '{self._state.user}' already exists")
        return template

    def update(self, name: str, content: Any) -> Template:
        """Store another template of the same name."""
        template = _checked(content)
        if template.name != name:
            raise MapError(f"Cannot update name of a map template ('{name}' != '{template.name}')")
        with self._state.admin() as connection:
            made = connection.execute(
                "UPDATE cartodb_local.map_templates SET template = %s WHERE name = %s",
                (Json(template.content), name),
            )
        if not made.rowcount:
            raise self._missing(name)
        return template

    def delete(self, name: str) -> None:
        """Delete a template."""
        with self._state.admin() as connection:
            made = connection.execute("DELETE FROM cartodb_local.map_templates WHERE name = %s", (_plain(name),))
        if not made.rowcount:
            raise self._missing(name)

    def _missing(self, name: str) -> MapError:
        return MapError(f"Template '{name}' of user '{self._state.user}' does not exist", status=404)


def _plain(name: str) -> str:
    """Return a name that PostgreSQL takes, of what came in a URL."""
    return name.replace("\0", "")


def _checked(content: Any) -> Template:
    """Refuse what is not a template."""
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
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise MapError(f"Invalid characters in template name '{name}'")
    if "\\u0000" in json.dumps(content):
        raise MapError("Invalid character in template: \\u0000")
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
    lacking = [
        str(index)
        for index, layer in enumerate(layers)
        if not isinstance(layer, Mapping) or not isinstance(layer.get("options"), Mapping)
    ]
    if lacking:
        raise MapError(f"Missing `options` in layergroup config for layers: {', '.join(lacking)}")


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


def _escaped(name: str, kind: Any, value: Any) -> str:
    """Return the text that stands for a placeholder."""
    text = json.dumps(value) if isinstance(value, bool | int | float) else str(value)
    match kind:
        case "sql_literal":
            return text.replace("'", "''")
        case "sql_ident":
            return text.replace('"', '""')
        case "number" if _NUMBER.fullmatch(text):
            return text
        case "css_color" if _COLOR.fullmatch(text):
            return text
        case "number" | "css_color":
            raise MapError(f"Invalid {kind} value for template parameter '{name}': {text}")
    raise MapError(f"Invalid placeholder type '{kind}'")


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    """Replace the placeholders in all strings; one that is not declared stays."""
    if isinstance(value, str):
        return _MARK.sub(lambda found: values.get(found[1], found[0]), value)
    if isinstance(value, Mapping):
        return {key: _filled(item, values) for key, item in value.items()}
    return [_filled(item, values) for item in value] if isinstance(value, list) else value


def _size(value: Any) -> Any:
    """Read the number that a placeholder of a buffer size has become."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value
