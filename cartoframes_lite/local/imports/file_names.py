"""How files are called that come over HTTP."""

from __future__ import annotations

import re
from email.message import Message
from http.client import HTTPMessage
from pathlib import PurePosixPath
from urllib.parse import unquote

_SUFFIXES = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/json": ".json",
    "application/geo+json": ".geojson",
    "application/vnd.geo+json": ".geojson",
    "application/zip": ".zip",
    "application/x-zip-compressed": ".zip",
    "application/gzip": ".gz",
    "application/x-gzip": ".gz",
    "application/x-tar": ".tar",
    "application/geopackage+sqlite3": ".gpkg",
    "application/gpx+xml": ".gpx",
    "application/vnd.google-earth.kml+xml": ".kml",
    "application/vnd.google-earth.kmz": ".kmz",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.oasis.opendocument.spreadsheet": ".ods",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}


def name_of(headers: HTTPMessage, path: str) -> str:
    """Return the name of a file that was fetched: what its server says, or else the end of the path.

    Parameters
    ----------
    headers : http.client.HTTPMessage
        Of the answer.
    path : str
        Of the URL. If the name taken from it has no suffix, it gets the one of the content type.
    """
    name = name_in(header_text(headers["Content-Disposition"] or ""))
    name = name or PurePosixPath(unquote(path)).name
    if not PurePosixPath(name).suffix:
        name = (name or "download") + _SUFFIXES.get(headers.get_content_type(), "")
    return name


def name_in(disposition: str) -> str:
    """Return the file name of a header ``Content-Disposition``, without a path; ``""`` if it has none."""
    message = Message()
    message["Content-Disposition"] = disposition
    return re.split(r"[/\\]", unquote(message.get_filename("") or ""))[-1].strip()


def header_text(header: str) -> str:
    """Read a header as UTF-8, as servers write it, if that is what it is."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header
