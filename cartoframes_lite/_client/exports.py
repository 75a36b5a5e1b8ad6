"""Export maps, with their datasets, to .carto files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

from cartoframes_lite._client import nonpublic, polling
from cartoframes_lite._client.http.downloads import check_zip, write_blocks
from cartoframes_lite._client.http.json_fields import required, text
from cartoframes_lite._client.http.progress import Progress
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.platform import CREATED, Platform
from cartoframes_lite.errors import JobError

PATH = "api/v3/visualization_exports"
_FINAL = ("complete", "failure")


@dataclass(frozen=True, slots=True)
class Export:
    """A snapshot of an export job on the server.

    Attributes
    ----------
    id : str
    state : str
        "pending", "exporting" or "uploading" while it runs; finally "complete" or "failure".
    url : str or None
        URL of the file, once it is complete. A URL on the server of the account may be a path, and may require the
        API key: ``Exports.download`` handles both.
    """

    id: str
    state: str
    url: str | None

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> Export:
        """Parse a response of the API."""
        return cls(id=required(response, "id"), state=required(response, "state"), url=text(response, "url"))


class Exports:
    """``client.exports``. CARTO does not document this API.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._platform = Platform(transport)

    def create(self, visualization_id: str) -> Export:
        """Start the export of a map with its data.

        Parameters
        ----------
        visualization_id : str
            Id of a map. CARTO does not export datasets: ``Visualization.export`` exports a map of the dataset instead.

        Raises
        ------
        APIError
            If it is the id of a dataset.
        PermissionDenied
            If the key cannot view the map.
        """
        nonpublic.warn(PATH, self._platform.transport)
        body = {"visualization_id": visualization_id}
        return self._platform.json(
            "POST", PATH, what="exporting", read=Export.from_response, json_body=body, expect=CREATED
        )

    def read(self, export_id: str) -> Export:
        """Return the current state of an export."""
        nonpublic.warn(PATH, self._platform.transport)
        return self._platform.json("GET", f"{PATH}/{export_id}", what="reading an export", read=Export.from_response)

    def wait(self, export_id: str, *, timeout_s: float | None = 600.0, progress: bool | None = None) -> Export:
        """Wait until the export is complete.

        Parameters
        ----------
        export_id : str
        timeout_s, progress
            As in ``ImportJob.wait``.

        Raises
        ------
        JobError
            If the export failed.
        JobTimeout
            If the export has not finished in time. It continues on the server.
        """
        export = polling.wait(
            lambda: self.read(export_id),
            final=_FINAL,
            what=f"export {export_id}",
            activity="exporting",
            timeout_s=timeout_s,
            progress=progress,
        )
        if export.state != "complete":
            raise JobError(f"export {export_id} failed on the server: try again, or read the tables with read_carto")
        return export

    def download(self, export: Export, path: str | os.PathLike[str], *, progress: bool | None = None) -> int:
        """Download a complete export and return its size in bytes; the file is created only when it is complete.

        The API key is sent only if the file is that of the account's own server which requires it.
        """
        with self._open(export) as blocks, Progress(f"{path}", progress, unit="B") as shown:
            return write_blocks(path, shown.count_bytes(blocks), check=partial(check_zip, source="the .carto file"))

    def _open(self, export: Export) -> AbstractContextManager[Iterator[bytes]]:
        """Open the file of an export: with the API key if it is served by the API, otherwise without."""
        base_url = str(self._platform.transport.credentials.base_url)
        url = urljoin(base_url, export.url or "")
        path = f"{PATH}/{export.id}/download"
        is_same_server = urlsplit(url)[:2] == urlsplit(base_url)[:2]
        if export.url is None or (is_same_server and urlsplit(url).path.endswith(f"/{path}")):
            return self._platform.stream(path, what="downloading an export")
        return self._platform.transport.fetch(url)
