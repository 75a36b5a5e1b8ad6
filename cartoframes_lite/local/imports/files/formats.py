"""Recognize file formats, by content first and by extension second."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cartoframes_lite.local.imports.files.archives import SourceFile
from cartoframes_lite.local.imports.files.error_codes import ImportJobError

DELIMITED_SUFFIXES = (".csv", ".tsv", ".txt", ".psv", ".dat", "")
# Extensions of files that belong to another file, such as the parts of a shapefile.
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
_ROOT = re.compile(rb"<(?:[\w.-]++:)?([\w.-]++)")
_PROLOG = {b"<!--": b"-->", b"<!DO": b">"}  # what may precede the root element, and its end


@dataclass(frozen=True, slots=True)
class Format:
    """File format and its GDAL settings.

    Attributes
    ----------
    drivers : tuple of str
        Names of the GDAL drivers to use. Empty for delimited text, which is not read with GDAL.
    error_code : int
        Code for a file that cannot be read.
    empty_code : int, optional
        Code for a file without rows. None if it becomes an empty table.
    options : dict
        Open options of GDAL.
    ignored_fields : frozenset of str
        Styling fields that are not imported.
    """

    drivers: tuple[str, ...] = ()
    error_code: int = 2001
    empty_code: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    ignored_fields: frozenset[str] = frozenset()


DELIMITED = Format(error_code=2003)
SHAPEFILE = Format(("ESRI Shapefile",), error_code=1006)
XLSX = Format(("XLSX",), error_code=1004)
ODS = Format(("ODS",), error_code=1004)
GEOJSON = Format(("GeoJSON", "ESRIJSON", "TopoJSON"), error_code=3007)
GEOJSON_LINES = Format(("GeoJSONSeq",), error_code=3007)
GEOPACKAGE = Format(("GPKG",))
SQLITE = Format(("SQLite",))
_FLATGEOBUF = Format(("FlatGeobuf",))
_MAPINFO = Format(("MapInfo File",))
_OSM = Format(("OSM",), empty_code=1005)
_ROOTS = {
    b"kml": Format(
        ("LIBKML",),
        empty_code=3202,
        ignored_fields=frozenset({"tessellate", "extrude", "visibility", "drawOrder", "altitudeMode", "icon"}),
    ),
    b"gpx": Format(("GPX",), empty_code=1005),
    b"osm": _OSM,
}
_LINE_SUFFIXES = (".geojsonl", ".geojsons", ".ndjson")
_JSON_SUFFIXES = (".json", ".geojson", ".topojson", *_LINE_SUFFIXES)


def recognize(file: SourceFile) -> Format:
    """Return the format of a file that is not an archive.

    Raises
    ------
    ImportJobError
        1002 if the format is not supported, 1005 if the file is blank, 1006 if a .shp file is not a shapefile, 1018
        if it is encrypted.
    """
    with file.path.open("rb") as opened:
        head = opened.read(_HEAD)
    if not head.strip():
        raise ImportJobError(1005)
    found = _by_magic(file, head) or _by_text(file, head)
    if found is None:
        raise ImportJobError(1002, file.suffix or "no extension")
    return found


def _by_magic(file: SourceFile, head: bytes) -> Format | None:
    """Recognize binary formats; raise ImportJobError for encrypted and Excel 97 files."""
    if head.startswith(_OLE):
        raise ImportJobError(
            *((1018,) if _is_encrypted(file) else (1002, "Excel 97 spreadsheets are not supported: save as XLSX"))
        )
    if head.startswith(b"PK\3\4"):  # already extracted: a spreadsheet, or an archive nested too deeply
        return {".xlsx": XLSX, ".xlsm": XLSX, ".ods": ODS}.get(file.suffix)
    if head.startswith(b"SQLite format 3\0"):
        return GEOPACKAGE if head[68:72] in (b"GPKG", b"GP10", b"GP11") else SQLITE
    if head.startswith(b"fgb\x03fgb"):
        return _FLATGEOBUF
    if file.suffix == ".shp":
        if not head.startswith(b"\0\0\x27\x0a"):
            raise ImportJobError(1006, "the .shp file is not a shapefile")
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
        # A CSV header may look like <name>, followed by a delimiter or the end of the line.
        if name and (name in _ROOTS or file.suffix not in DELIMITED_SUFFIXES or not _BRACKETED.match(text)):
            return _ROOTS.get(name)
    if file.suffix in _LINE_SUFFIXES:
        return GEOJSON_LINES
    if file.suffix in _JSON_SUFFIXES or (not file.suffix and text.startswith(b"{")):
        return GEOJSON
    return DELIMITED if file.suffix in DELIMITED_SUFFIXES else None


def _root(text: bytes) -> bytes:
    """Return the name of the XML root element in lower case; empty if there is none."""
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
    """Return whether an OLE container holds an encrypted spreadsheet; its directory may be anywhere in the file."""
    overlap = b""
    with file.path.open("rb") as opened:
        while block := opened.read(1 << 20):
            if _ENCRYPTED_OLE in overlap + block:
                return True
            overlap = block[-len(_ENCRYPTED_OLE) :]
    return False
