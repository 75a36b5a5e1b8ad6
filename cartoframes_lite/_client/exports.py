"""Export maps and datasets to .carto files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

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
        URL of the file, once it is complete.
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
        """Start the export of a map or dataset with its data."""
        nonpublic.warn(PATH)
        body = {"visualization_id": visualization_id}
        return self._platform.json(
            "POST", PATH, what="exporting", read=Export.from_response, json_body=body, expect=CREATED
        )

    def read(self, export_id: str) -> Export:
        """Return the current state of an export."""
        nonpublic.warn(PATH)
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
        if export.state != "complete" or export.url is None:
            raise JobError(f"export {export_id} failed on the server: try again, or read the tables with read_carto")
        return export

    def download(self, export: Export, path: str | os.PathLike[str], *, progress: bool | None = None) -> int:
        """Download a complete export and return its size in bytes; the file is created only when it is complete."""
        assert export.url is not None  # a complete export has a URL
        with self._platform.transport.fetch(export.url) as blocks, Progress(f"{path}", progress) as shown:
            return write_blocks(path, shown.count_bytes(blocks), check=partial(check_zip, source="the .carto file"))
