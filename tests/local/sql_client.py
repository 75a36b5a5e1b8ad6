"""Client of the SQL API, without the code of the package."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import requests

TIMEOUT_S = 60


@dataclass(frozen=True)
class SQLClient:
    base_url: str
    key: str | None

    @property
    def url(self) -> str:
        return f"{self.base_url}/api/v2/sql"

    def with_key(self, key: str | None) -> SQLClient:
        return replace(self, key=key)

    def regular(self, *tables: str, permissions: Iterable[str] = ("select",), create: bool = False) -> SQLClient:
        """Create a key that may use some tables."""
        granted = [{"schema": "public", "name": name, "permissions": list(permissions)} for name in tables]
        schemas = [{"name": "public", "permissions": ["create"]}] if create else []
        database = {"type": "database", "tables": granted, "schemas": schemas}
        grants = [{"type": "apis", "apis": ["sql"]}, database]
        body = {"name": f"key {time.monotonic_ns()}", "grants": grants}
        made = requests.post(
            f"{self.base_url}/api/v3/api_keys", json=body, params={"api_key": self.key}, timeout=TIMEOUT_S
        )
        assert made.status_code == 201, made.text
        return self.with_key(made.json()["token"])

    def send(self, q: str, **parameters: Any) -> requests.Response:
        return requests.post(self.url, data=self._with_key({"q": q, **parameters}), timeout=TIMEOUT_S)

    def get(self, q: str, **parameters: Any) -> requests.Response:
        return requests.get(self.url, params=self._with_key({"q": q, **parameters}), timeout=TIMEOUT_S)

    def run(self, q: str, **parameters: Any) -> Any:
        """Send a query and return its response, which must be a success."""
        response = self.send(q, **parameters)
        assert response.status_code == 200, response.text
        assert "error" not in response.json()
        return response.json()

    def value(self, q: str) -> Any:
        [row] = self.run(q)["rows"]
        [value] = row.values()
        return value

    def copy_from(self, q: str, data: Any, **headers: str) -> requests.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        parameters = self._with_key({"q": q})
        return requests.post(f"{self.url}/copyfrom", data, params=parameters, headers=names, timeout=TIMEOUT_S)

    def copy_to(self, q: str, *, stream: bool = False) -> requests.Response:
        return requests.get(f"{self.url}/copyto", self._with_key({"q": q}), stream=stream, timeout=TIMEOUT_S)

    def start_job(self, query: Any) -> Any:
        response = requests.post(f"{self.url}/job", params=self._with_key({}), json={"query": query}, timeout=TIMEOUT_S)
        assert response.status_code == 201, response.text
        return response.json()

    def job(self, job_id: str, *, cancel: bool = False) -> requests.Response:
        method = "DELETE" if cancel else "GET"
        return requests.request(method, f"{self.url}/job/{job_id}", params=self._with_key({}), timeout=TIMEOUT_S)

    def job_in(self, job_id: str, *statuses: str) -> Any:
        """Return a job once it has one of some statuses and, if it is over, nothing is left to follow it."""
        give_up = time.monotonic() + 120
        while True:
            job = self.job(job_id).json()
            follows = job["status"] != "running" and job.get("fallback_status") in ("pending", "running")
            if job["status"] in statuses and not follows:
                return job
            assert time.monotonic() < give_up, job
            time.sleep(0.01)

    def _with_key(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return parameters if self.key is None else {**parameters, "api_key": self.key}


def error_of(response: requests.Response) -> str:
    """Return the one message of an error object."""
    [message] = response.json()["error"]
    return str(message)
