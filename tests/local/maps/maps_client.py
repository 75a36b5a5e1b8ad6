"""Client of the Maps API for the tests."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

TOWNS = """
    CREATE TABLE towns (name text, people integer, height numeric, seen timestamptz,
                        the_geom geometry(Point, 4326));
    INSERT INTO towns VALUES
        ('North', 10, 1.5, '2024-01-01', 'SRID=4326;POINT(10 60)'),
        ('South', 20, 2.5, '2024-01-01 12:00', 'SRID=4326;POINT(10 -60)'),
        ('West', 30, NULL, '2024-01-03', 'SRID=4326;POINT(-100 60)'),
        ('Nowhere', NULL, NULL, NULL, NULL);
    SELECT CDB_CartodbfyTable('towns');"""
PUBLIC = "GRANT SELECT ON towns TO publicuser;"
Call = Callable[..., Any]


def mapnik(sql: str = "SELECT * FROM towns", **options: Any) -> dict[str, Any]:
    return {"type": "mapnik", "options": {"sql": sql, **options}}


def described(*layers: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"version": "1.8.0", "layers": list(layers), **members}


def instantiate(call: Call, config: dict[str, Any], **options: Any) -> str:
    """Return the path of a new map."""
    response = call("POST", "/api/v1/map", config, **options)
    assert response.status == 200, response.body
    return f"/api/v1/map/{response.json['layergroupid']}"


def refusal(response: Any) -> tuple[int, str]:
    """Return status and message of an error."""
    [message] = response.json["errors"]
    [context] = response.json["errors_with_context"]
    assert context["message"] == message
    return response.status, message


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    return width, height
