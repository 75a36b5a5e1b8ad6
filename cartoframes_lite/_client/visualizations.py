"""Datasets as CARTO's catalogue knows them: their privacy."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from cartoframes_lite._client import jobs
from cartoframes_lite._client.transport import Transport
from cartoframes_lite.errors import JobTimeout, NotFound

_PATH = "api/v1/viz"
_PRIVACIES = ("public", "private", "link")
_REGISTRATION_S = 30.0  # a table made by SQL appears in the catalogue within seconds


class Visualizations:
    """``client.visualizations``.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, name: str) -> dict[str, Any]:
        """Ask for a dataset by its name or id; a table that is not registered yet is waited for.

        Raises
        ------
        NotFound
            If there is none after 30 seconds.
        """
        refusals: list[NotFound] = []

        def poll() -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = self._transport.json("GET", f"{_PATH}/{quote(name)}", idempotent=True)
            except NotFound as error:
                refusals.append(error)
                return None
            return found

        try:
            found = jobs.wait(
                poll, done=lambda answer: answer is not None, timeout_s=_REGISTRATION_S, what=f"dataset {name!r}"
            )
        except JobTimeout as timeout:
            raise refusals[-1] from timeout
        assert found is not None
        return found

    def set_privacy(self, name: str, privacy: str) -> None:
        """Set the privacy of a dataset.

        Parameters
        ----------
        name : str
        privacy : {"public", "private", "link"}
        """
        if privacy not in _PRIVACIES:
            raise ValueError(f"privacy must be one of {_PRIVACIES}, not {privacy!r}")
        dataset = self.get(name)
        body = {"id": dataset["id"], "privacy": privacy}
        self._transport.json("PUT", f"{_PATH}/{dataset['id']}", idempotent=True, json_body=body)
