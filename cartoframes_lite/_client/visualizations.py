"""Datasets as CARTO's catalogue knows them: their privacy."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from cartoframes_lite._client import jobs
from cartoframes_lite._client.transport import Transport
from cartoframes_lite.errors import JobTimeout, NotFound, PermissionDenied

_PATH = "api/v1/viz"
_KEYS_PATH = "api/v3/api_keys"
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
        PermissionDenied
            If it is not shown because the key is not the master key.
        """
        refusals: list[NotFound] = []

        def poll() -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = self._transport.json("GET", f"{_PATH}/{quote(name)}", idempotent=True)
            except NotFound as error:
                if not refusals:  # other keys are shown public datasets only, however long they wait
                    self.require_master(f"asking for the dataset {name!r}")
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

    def require_master(self, what: str) -> None:
        """Raise PermissionDenied if the key is not the master key, the only one that the catalogue heeds.

        Parameters
        ----------
        what : str
            What the message says that the key may not do.
        """
        try:
            answer = self._transport.json("GET", _KEYS_PATH, idempotent=True, query={"type": "master"})
        except NotFound:  # an older installation, without this API: what follows will tell
            return
        if not answer.get("result"):
            raise PermissionDenied(
                f"{what} takes the master key: pass Credentials with it", status=403, method="GET", url=_KEYS_PATH
            )

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
