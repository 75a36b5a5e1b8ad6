"""Recorded request/response pairs: reading them, and sending a request again."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import time
import urllib.parse
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Case = dict[str, Any]
_CASES = Path(__file__).with_name("cases")
_NAME = re.compile(r"\{\{([\w.]+)\}\}")
_COLUMNS = "name, population, area, founded, updated, active, tags, meta, the_geom"
_ROWS = f"""
    INSERT INTO public_places ({_COLUMNS}) VALUES
    ('Madrid', 3223334, 604.45, '0860-01-01', '2020-01-02T03:04:05.678Z', true, '{{capital,city}}', '{{"a":1}}',
     'SRID=4326;POINT(-3.7038 40.4168)'),
    ('New York, "NYC"', 8336817, 783.8, '1624-05-20', '2020-06-02T00:00:00Z', false, '{{}}', 'null',
     'SRID=4326;POINT(-74.006 40.7128)'),
    ('Null Island', NULL, 'NaN', NULL, NULL, NULL, NULL, NULL, NULL);"""
_CREATE = f"""
    CREATE TABLE public_places (name text, population integer, area double precision, founded date,
        updated timestamptz, active boolean, tags text[], meta jsonb, the_geom geometry(Geometry, 4326));
    {_ROWS}
    SELECT CDB_CartodbfyTable('public_places');
    CREATE TABLE private_places AS SELECT * FROM public_places;
    SELECT CDB_CartodbfyTable('public', 'private_places');
    CREATE TABLE copy_target (id integer, name text, age integer DEFAULT 10);
    GRANT SELECT ON public_places, copy_target TO publicuser;"""
_REFILL = f"""
    TRUNCATE public_places, private_places, copy_target RESTART IDENTITY;
    {_ROWS}
    INSERT INTO private_places ({_COLUMNS}) SELECT {_COLUMNS} FROM public_places ORDER BY cartodb_id;"""


def load(file: str) -> list[Case]:
    """Read the cases of a file, in the order in which they were recorded."""
    with (_CASES / f"{file}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]  # lower case
    body: bytes


@dataclass
class Replay:
    """One file of cases against one server; each is sent once, after the cases it depends on."""

    base_url: str
    cases: dict[str, Case]
    names: dict[str, Any]
    played: dict[str, Response] = field(default_factory=dict)

    def prepare(self) -> None:
        """Create the tables and the two regular keys."""
        self.sql(_CREATE)
        table = {"schema": "public", "name": "public_places", "permissions": ["select"]}
        for name, apis in (("regular", ["sql", "maps"]), ("mapsonly", ["maps"])):
            grants = [{"type": "apis", "apis": apis}, {"type": "database", "tables": [table]}]
            key = {"name": name, "grants": grants}
            request = {"method": "POST", "path": "/api/v3/api_keys", "query": {"api_key": "{{master}}"}, "json": key}
            self.names[name] = json.loads(self.send(request).body)["token"]

    def sql(self, query: str) -> None:
        request = {"method": "POST", "path": "/api/v2/sql", "form": {"q": query, "api_key": "{{master}}"}}
        while (response := self.send(request)).status == 429:
            time.sleep(int(response.headers["retry-after"]))
        assert response.status == 200, response.body

    def play(self, name: str) -> Response:
        """Return the response to a case."""
        if name not in self.played:
            case = self.cases[name]
            for earlier in self._needed(case):
                self.play(earlier)
            if case.get("reset") or not self.played:
                self.sql(_REFILL)
            self.played[name] = self._poll(case)
        return self.played[name]

    def filled(self, value: Any) -> Any:
        """Replace each ``{{name}}`` and ``{{case.path}}`` in the strings of a JSON value."""
        if isinstance(value, str):
            return _NAME.sub(lambda found: str(self._look_up(found[1].split("."))), value)
        if isinstance(value, dict):
            return {key: self.filled(item) for key, item in value.items()}
        return [self.filled(item) for item in value] if isinstance(value, list) else value

    def send(self, recorded: Case) -> Response:
        """Send a request on a separate connection."""
        request = self.filled(recorded)
        url = urllib.parse.urlsplit(self.base_url)
        path = request["path"] if request["path"].startswith("/user/") else url.path + request["path"]
        if "query" in request:
            path += "?" + urllib.parse.urlencode(request["query"])
        body, headers = _body(request)
        if "auth" in request:
            headers["Authorization"] = "Basic " + b64encode(":".join(request["auth"]).encode()).decode()
        connection = http.client.HTTPConnection(url.netloc, timeout=30)
        try:
            connection.request(request["method"], path, body, {**headers, **request.get("headers", {})})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Response(response.status, found, response.read())
        finally:
            connection.close()

    def _poll(self, case: Case) -> Response:
        """Send the request of a case until the response has what the case waits for."""
        time.sleep(case.get("wait_s", 0))
        response = self.send(case["request"])
        if poll := case.get("poll"):
            give_up = time.monotonic() + poll["timeout_s"]
            while json.loads(response.body)[poll["field"]] not in poll["until"] and time.monotonic() < give_up:
                time.sleep(0.02)
                response = self.send(case["request"])
        return response

    def _needed(self, case: Case) -> Iterable[str]:
        """Name the earlier cases: those it uses or names, and the one before it, whose rows it may count on."""
        order = list(self.cases)
        before = order[: order.index(case["case"])]
        used = [path.split(".")[0] for path in _NAME.findall(json.dumps(case["request"])) if "." in path]
        return [*case.get("after", ()), *used, *(() if case.get("reset") else before[-1:])]

    def _look_up(self, path: list[str]) -> Any:
        if len(path) == 1:
            return self.names[path[0]]
        value = json.loads(self.played[path[0]].body)
        for step in path[1:]:
            value = value[int(step)] if isinstance(value, list) else value[step]
        return value


def _body(request: Case) -> tuple[bytes | Iterable[bytes] | None, dict[str, str]]:
    """Make the body of a request, and the headers that go with it."""
    headers = {"Accept-Encoding": "identity", "Connection": "close"}
    body: bytes | None = None
    if "json" in request:
        body, headers["Content-Type"] = json.dumps(request["json"]).encode(), "application/json"
    elif "form" in request:
        body = urllib.parse.urlencode(request["form"]).encode()
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    elif "text" in request:
        body = request["text"].encode()
    elif "base64" in request:
        body = b64decode(request["base64"])
    if body and request.get("gzip"):
        body = gzip.compress(body)
    if body and request.get("chunked"):  # an iterable has no length
        return (body[start : start + 7] for start in range(0, len(body), 7)), headers
    return body, headers
