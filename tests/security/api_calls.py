"""All ways to send SQL to an account over HTTP, with any of its keys."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import requests

from cartoframes_lite.local import LocalCarto

TIMEOUT_S = 30


@dataclass(frozen=True)
class APICalls:
    """Sends requests with one key; None: without a key.

    Attributes
    ----------
    base_url : str
        Of the user.
    key, master : str or None
    """

    base_url: str
    key: str | None
    master: str

    @classmethod
    def of(cls, carto: LocalCarto) -> APICalls:
        """Return the API calls of the owner."""
        assert carto.credentials.api_key is not None
        return cls(carto.base_url, carto.credentials.api_key, carto.credentials.api_key)

    def public(self) -> APICalls:
        """Return the API calls without a key."""
        return replace(self, key=None)

    def regular(self, *tables: str, permissions: tuple[str, ...] = ("select",), create: bool = False) -> APICalls:
        """Make a key that may do so much with some tables, and give its doors."""
        granted = [{"schema": "public", "name": table, "permissions": list(permissions)} for table in tables]
        schemas = [{"name": "public", "permissions": ["create"]}] if create else []
        grants = [
            {"type": "apis", "apis": ["sql", "maps"]},
            {"type": "database", "tables": granted, "schemas": schemas},
        ]
        body = {"name": f"key {time.monotonic_ns()}", "grants": grants}
        made = replace(self, key=self.master).call("POST", "/api/v3/api_keys", json=body)
        assert made.status_code == 201, made.text
        return replace(self, key=made.json()["token"])

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request."""
        parameters = dict(arguments.pop("params", {}))
        if self.key is not None:
            parameters["api_key"] = self.key
        return requests.request(method, self.base_url + path, params=parameters, timeout=TIMEOUT_S, **arguments)

    def sql(self, q: str, **parameters: Any) -> requests.Response:
        """Send statements."""
        form = {"q": q, **parameters, **({} if self.key is None else {"api_key": self.key})}
        return requests.post(f"{self.base_url}/api/v2/sql", data=form, timeout=TIMEOUT_S)

    def run(self, q: str) -> list[dict[str, Any]]:
        """Send statements that must succeed; return the rows."""
        response = self.sql(q)
        assert response.status_code == 200, response.text
        assert "error" not in response.json(), response.text
        rows: list[dict[str, Any]] = response.json()["rows"]
        return rows

    def job(self, query: Any) -> dict[str, Any]:
        """Run a batch job and wait until it has finished."""
        response = self.call("POST", "/api/v2/sql/job", json={"query": query})
        if response.status_code != 201:
            return {"status": "refused", "failed_reason": response.text}
        return self._polled(f"/api/v2/sql/job/{response.json()['job_id']}", "status", ("pending", "running"))

    def imported(self, **arguments: Any) -> dict[str, Any]:
        """Run an import and wait until it has finished."""
        response = self.call("POST", "/api/v1/imports", **arguments)
        if response.status_code != 200:
            return {"state": "refused", "text": response.text}
        underway = ("enqueued", "pending", "uploading", "unpacking", "importing")
        return self._polled(f"/api/v1/imports/{response.json()['item_queue_id']}", "state", underway)

    def map(self, *layers: dict[str, Any], **members: Any) -> requests.Response:
        """Instantiate an anonymous map."""
        return self.call("POST", "/api/v1/map", json={"version": "1.8.0", "layers": list(layers), **members})

    def _polled(self, path: str, word: str, underway: tuple[str, ...]) -> dict[str, Any]:
        give_up = time.monotonic() + TIMEOUT_S
        while True:
            found: dict[str, Any] = self.call("GET", path).json()
            if found[word] not in underway:
                return found
            assert time.monotonic() < give_up, found
            time.sleep(0.02)
