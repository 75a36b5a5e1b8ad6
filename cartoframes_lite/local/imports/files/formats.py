"""Formats: which one a file has, by its content first and its extension second."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cartoframes_lite.local.imports.files.archives import SourceFile
from cartoframes_lite.local.imports.files.error_codes import ImportRefused

DELIMITED_SUFFIXES = (".csv", ".tsv", ".txt", ".psv", ".dat", "")
# Beside the file that names them, these hold parts of its data.
COMPANIONS = frozenset(
    [
        ".shx",
        ".dbf",
        ".prj",
        ".cpg",
        ".sbn",
        ".sbx",
        ".qix",
        ".qmd",
        ".qpj",
        ".ain",
        ".aih",
        ".atx",
        ".ixs",
        ".mxs",
        ".xml",
        ".lyr",
        ".sld",
        ".dat",
        ".map",
        ".id",
        ".ind",
        ".mid",
    ]
)
_HEAD = 65_536
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_OLE = "EncryptedPackage".encode("utf-16-le")
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_BRACKETED = re.compile(rb"<[^<>?!\r\n][^<>\r\n]*+> *+(?:[,;|\t]|[\r\n]++(?!\s*+<)|\Z)")
_ROOT = re.compile(rb"<(?:[\w.-]++:)?+([\w.-]++)")
_PROLOG = {b"<!--": b"-->", b"<!DO": b">"}  # what may come in front of the root, and where it ends


@dataclass(frozen=True, slots=True)
class Format:
    """A format and how GDAL reads it.

    Attributes
    ----------
    drivers : tuple of str
        GDAL's names of them, no others are used. Empty for delimited text, which is not read through GDAL.
    broken : int
        Code of a file that cannot be read.
    empty : int, optional
        Code of a file without rows. None if it becomes an empty table.
    options : dict
        Open options of GDAL.
    ignored : frozenset of str
        Fields that say how to draw, not what is there.
    """

    drivers: tuple[str, ...] = ()
    broken: int = 2001
    empty: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()


DELIMITED = Format(broken=2003)
SHAPEFILE = Format(("ESRI Shapefile",), broken=1006)
XLSX = Format(("XLSX",), broken=1004)
ODS = Format(("ODS",), broken=1004)
GEOJSON = Format(("GeoJSON", "ESRIJSON", "TopoJSON"), broken=3007)
GEOJSON_LINES = Format(("GeoJSONSeq",), broken=3007)
GEOPACKAGE = Format(("GPKG",))
SQLITE = Format(("SQLite",))
_FLATGEOBUF = Format(("FlatGeobuf",))
_MAPINFO = Format(("MapInfo File",))
_OSM = Format(("OSM",), empty=1005)
_ROOTS = {
    b"kml": Format(
        ("LIBKML",),
        empty=3202,
        ignored=frozenset({"tessellate", "extrude", "visibility", "drawOrder", "altitudeMode", "icon"}),
    ),
    b"gpx": Format(("GPX",), empty=1005),
    b"osm": _OSM,
}
_LINE_SUFFIXES = (".geojsonl", ".geojsons", ".ndjson")
_JSON_SUFFIXES = (".json", ".geojson", ".topojson", *_LINE_SUFFIXES)


def recognize(file: SourceFile) -> Format:
    """Tell the format of a file that is no archive.

    Raises
    ------
    ImportRefused
        1002 if it cannot be imported, 1005 if it is empty or blank, 1006 if it only says that it is a shapefile,
        1018 if it is encrypted.
    """
    with file.path.open("rb") as opened:
        head = opened.read(_HEAD)
    if not head.strip():
        raise ImportRefused(1005)
    found = _by_magic(file, head) or _by_text(file, head)
    if found is None:
        raise ImportRefused(1002, file.suffix or "no extension")
    return found


def _by_magic(file: SourceFile, head: bytes) -> Format | None:
    """Recognize binary formats, and refuse those that only a password or another program opens."""
    if head.startswith(_OLE):
        raise ImportRefused(*((1018,) if _is_encrypted(file) else (1002, "spreadsheets of Excel 97: save as XLSX")))
    if head.startswith(b"PK\3\4"):  # archives have been unpacked: what is left is a spreadsheet or too deep
        return {".xlsx": XLSX, ".xlsm": XLSX, ".ods": ODS}.get(file.suffix)
    if head.startswith(b"SQLite format 3\0"):
        return GEOPACKAGE if head[68:72] in (b"GPKG", b"GP10", b"GP11") else SQLITE
    if head.startswith(b"fgb\x03fgb"):
        return _FLATGEOBUF
    if file.suffix == ".shp":
        if not head.startswith(b"\0\0\x27\x0a"):
            raise ImportRefused(1006, "the .shp does not begin as one")
        return SHAPEFILE
    if b"OSMHeader" in head[:64]:
        return _OSM
    return _MAPINFO if file.suffix in (".tab", ".mif") else None


def _by_text(file: SourceFile, head: bytes) -> Format | None:
    """Recognize XML, JSON and delimited text."""
    text = head
    for bom in _BOMS:
        text = text.removeprefix(bom)
    text = text.lstrip()
    if text.startswith(b"<"):
        name = _root(text)
        # A header may be written in such brackets, but has a delimiter behind them, or nothing.
        if name and (name in _ROOTS or file.suffix not in DELIMITED_SUFFIXES or not _BRACKETED.match(text)):
            return _ROOTS.get(name)
    if file.suffix in _LINE_SUFFIXES:
        return GEOJSON_LINES
    if file.suffix in _JSON_SUFFIXES or (not file.suffix and text.startswith(b"{")):
        return GEOJSON
    return DELIMITED if file.suffix in DELIMITED_SUFFIXES else None


def _root(text: bytes) -> bytes:
    """Return the name of the first element of XML in lower case; empty if there is none."""
    at = text.find(b"<")
    while at >= 0:
        if found := _ROOT.match(text, at):
            return found[1].lower()
        ending = _PROLOG.get(text[at : at + 4])
        if ending is not None:
            at = text.find(ending, at + 4)
            if at < 0:
                break
        at = text.find(b"<", at + 1)
    return b""


def _is_encrypted(file: SourceFile) -> bool:
    """Tell whether an OLE container holds an encrypted spreadsheet: its directory may be anywhere in it."""
    overlap = b""
    with file.path.open("rb") as opened:
        while block := opened.read(1 << 20):
            if _ENCRYPTED_OLE in overlap + block:
                return True
            overlap = block[-len(_ENCRYPTED_OLE) :]
    return False
