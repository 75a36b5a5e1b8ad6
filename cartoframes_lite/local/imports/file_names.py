"""File names from HTTP headers and URLs."""

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


def response_file_name(headers: HTTPMessage, path: str) -> str:
    """Return the file name of a download: from ``Content-Disposition``, else the last segment of the URL's path.

    Parameters
    ----------
    headers : http.client.HTTPMessage
        Headers of the response. ``Content-Type`` determines the suffix of a name without one.
    path : str
        Path of the URL.
    """
    name = disposition_file_name(decode_header(headers["Content-Disposition"] or ""))
    name = name or PurePosixPath(unquote(path)).name
    if not PurePosixPath(name).suffix:
        name = (name or "download") + _SUFFIXES.get(headers.get_content_type(), "")
    return name


def disposition_file_name(disposition: str) -> str:
    """Return the file name in a header ``Content-Disposition``, without directories; ``""`` if it has none."""
    message = Message()
    message["Content-Disposition"] = disposition
    return re.split(r"[/\\]", unquote(message.get_filename("") or ""))[-1].strip()


def decode_header(header: str) -> str:
    """Decode a header as UTF-8 if possible; `http.client` decodes all headers as Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header
