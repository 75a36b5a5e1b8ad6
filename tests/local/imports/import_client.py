"""Client of the Import API: post, poll, and read tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import requests

from cartoframes_lite.local import LocalCarto

FINAL = ("complete", "failure")


class Importer:
    """Sends requests to ``/api/v1/imports`` and ``/api/v1/synchronizations`` with the master key."""

    def __init__(self, carto: LocalCarto) -> None:
        assert carto.credentials.api_key is not None
        self.carto, self.key = carto, carto.credentials.api_key

    def send(self, method: str, path: str, *, key: str | None = "", **arguments: Any) -> requests.Response:
        """Send a request, with the master key by default; ``key=None``: without a key."""
        parameters = dict(arguments.pop("params", {}))
        if key is not None:
            parameters["api_key"] = key or self.key
        url = f"{self.carto.base_url}/api/v1/{path}"
        return requests.request(method, url, params=parameters, timeout=20, **arguments)

    def post(self, **arguments: Any) -> str:
        """Start an import; return its id."""
        response = self.send("POST", "imports", **arguments)
        assert response.status_code == 200, response.text
        assert response.json()["success"] is True
        return str(response.json()["item_queue_id"])

    def wait(self, identity: str) -> dict[str, Any]:
        """Wait for the end of an import."""
        for job in self._polled(f"imports/{identity}"):
            if job["state"] in FINAL:
                return job
        raise AssertionError(f"the import {identity} does not end")

    def run(self, **arguments: Any) -> dict[str, Any]:
        """Start an import, and wait until it has finished."""
        return self.wait(self.post(**arguments))

    def csv(self, name: str, content: str, **parameters: str) -> dict[str, Any]:
        """Import a CSV file."""
        return self.run(files={"file": (name, content.encode())}, params=parameters)

    def sync(self, identity: str, *states: str) -> dict[str, Any]:
        """Wait until a synchronization is in one of some states, ``success`` and ``failure`` if none is given."""
        for found in self._polled(f"synchronizations/{identity}"):
            if found["state"] in (states or ("success", "failure")):
                return found
        raise AssertionError(f"the synchronization {identity} does not end")

    def rows(self, query: str, *, key: str | None = "") -> Any:
        """Return the rows of a query, or the status of its error."""
        url = f"{self.carto.base_url}/api/v2/sql"
        parameters = {"q": query} | ({} if key is None else {"api_key": key or self.key})
        response = requests.get(url, params=parameters, timeout=20)
        return response.json()["rows"] if response.status_code == 200 else response.status_code

    def tables(self) -> list[str]:
        """Return the names of the account's tables."""
        query = "SELECT tablename AS t FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        return [row["t"] for row in self.rows(query) if row["t"] != "spatial_ref_sys"]

    def _polled(self, path: str) -> Iterator[dict[str, Any]]:
        give_up = time.monotonic() + 15
        while time.monotonic() < give_up:
            response = self.send("GET", path)
            assert response.status_code == 200, response.text
            yield response.json()
            time.sleep(0.02)
