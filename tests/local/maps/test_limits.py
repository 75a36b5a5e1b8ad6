"""Limits of concurrent rendering, and of the memory for maps and bodies."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from cartoframes_lite.local import LocalCarto
from cartoframes_lite.local.maps.config import parse_map_config
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.layergroups import Layergroups
from cartoframes_lite.local.maps.pixel_budget import PixelBudget
from cartoframes_lite.local.maps.requests import MAX_BYTES
from cartoframes_lite.local.sql.sessions import Sessions
from cartoframes_lite.local.state import State
from tests.local.maps.maps_client import TOWNS, Call, described, instantiate, mapnik, refusal, size_of
from tests.local.sql_client import SQLClient

STYLED = {"cartocss": "#l { marker-width: 10; }", "cartocss_version": "2.3.0"}
NOWHERE = "SELECT 1 AS cartodb_id, NULL::geometry AS the_geom_webmercator"


def large(size: int) -> dict[str, Any]:
    """Return a map configuration whose JSON has a given number of bytes."""
    config = described(mapnik(f"{NOWHERE} /* */"))
    return described(mapnik(f"{NOWHERE} /* {'x' * (size - len(json.dumps(config)) - 1)} */"))


def test_body_size_limit(call: Call) -> None:
    for size in (MAX_BYTES - 10, MAX_BYTES):
        config = large(size)
        assert len(json.dumps(config)) == size
        assert call("POST", "/api/v1/map", config).status == 200
    template = {"version": "0.0.1", "name": "t", "auth": {"method": "open"}, "layergroup": large(MAX_BYTES)}
    for path, body in (
        ("/api/v1/map", large(MAX_BYTES + 1)),
        ("/api/v1/map", large(3_000_000)),
        ("/api/v1/map/named", template),
    ):
        response = call("POST", path, body)
        assert refusal(response) == (400, "request entity too large")
        assert response.json["errors_with_context"][0]["type"] == "entity.too.large"


def test_chunked_bodies_over_the_limit_are_not_kept(carto: LocalCarto) -> None:
    place = urlsplit(carto.base_url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    try:
        blocks = (b"x" * 65_536 for _ in range(200))
        headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
        connection.request("POST", f"{place.path}/api/v1/map", blocks, headers, encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["errors"]) == (400, ["request entity too large"])
    finally:
        connection.close()


def test_least_recently_used_maps_are_dropped_first(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartoframes_lite.local.maps.layergroups._MAX_BYTES", 3_000_000)

    async def run() -> None:
        sessions = Sessions(state, read_only=True)
        kept = Layergroups(state, sessions)
        ids = []
        for number in range(8):
            content = described(mapnik(f"{NOWHERE} /* {number}{'x' * 90_000} */"))
            group, _ = await kept.instantiate(content, parse_map_config(content), state.owner_role)
            assert group.size_bytes > 700_000
            ids.append(group.id)
            kept.find(ids[0])  # the first one is used again and again
        found = []
        for identity in ids:
            try:
                found.append(kept.find(identity) is not None)
            except MapError:
                found.append(False)
        assert found == [True, False, False, False, False, True, True, True]
        sessions.close()

    asyncio.run(run())


def test_pixel_budget_limits_concurrent_images() -> None:
    drawn: list[int] = []
    most = 0

    async def draw(budget: PixelBudget, pixels: int) -> None:
        nonlocal most
        async with budget.reserve(pixels):
            drawn.append(pixels)
            most = max(most, sum(drawn))
            await asyncio.sleep(0.001)
            drawn.remove(pixels)

    async def run() -> None:
        budget = PixelBudget(100)
        sizes = [60, 60, 100, 10, 10, 500, 30, 99, 1] * 5
        waiting = [asyncio.ensure_future(draw(budget, min(size, 100))) for size in sizes]
        await asyncio.sleep(0.002)
        for given_up in waiting[3::4]:  # as when clients go away
            given_up.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert sum(not task.cancelled() for task in waiting) > 20
        async with asyncio.timeout(1), budget.reserve(10_000):  # all of it is free again
            pass

    asyncio.run(run())
    assert most <= 100


def test_large_images_wait_for_pixels(call: Call, sql: SQLClient) -> None:
    sql.run(TOWNS)
    token = instantiate(call, described(mapnik(**STYLED))).removeprefix("/api/v1/map/")
    with ThreadPoolExecutor(3) as pool:
        path = f"/api/v1/map/static/center/{token}/2/0/0/6000/6000.jpg"
        responses = list(pool.map(lambda _: call("GET", path).status, range(3)))
    assert responses == [200] * 3
    small = call("GET", f"/api/v1/map/static/center/{token}/2/0/0/60/40.png")
    assert size_of(small.body) == (60, 40)


SLOW = {
    "a style of many rules": described(
        mapnik(cartocss="#l[a=1]{marker-width:1}" * 4000, cartocss_version="2.3.0"),
    ),
    "doubling variables": described(
        mapnik(
            cartocss="".join(f"@v{i}: @v{i + 1} + @v{i + 1};" for i in range(40)) + "@v40: 1; #l { line-width: @v0; }",
            cartocss_version="2.3.0",
        )
    ),
    "a slow query": described(mapnik("SELECT *, pg_sleep(0.3)::text AS slept FROM towns")),
}


@pytest.mark.parametrize("name", [*SLOW, "a large picture"])
def test_slow_maps_do_not_block_other_requests(call: Call, sql: SQLClient, name: str) -> None:
    sql.run(TOWNS)
    token = instantiate(call, described(mapnik(**STYLED))).removeprefix("/api/v1/map/")

    def work() -> None:
        if name == "a large picture":
            assert call("GET", f"/api/v1/map/static/center/{token}/2/0/0/3000/2500.png").status == 200
            return
        response = call("POST", "/api/v1/map", SLOW[name])
        if response.status == 200:
            call("GET", f"/api/v1/map/{response.json['layergroupid']}/0/0/0.mvt")

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    started, in_the_meantime = time.monotonic(), 0
    while any(worker.is_alive() for worker in workers) and in_the_meantime < 100:
        assert sql.value("SELECT 1") == 1
        in_the_meantime += any(worker.is_alive() for worker in workers)
    for worker in workers:
        worker.join()
    # If each map blocked the others, two would end between the three maps. Less than a second proves nothing.
    assert in_the_meantime >= 3 or time.monotonic() - started < 1
