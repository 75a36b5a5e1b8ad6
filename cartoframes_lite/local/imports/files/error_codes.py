"""Error codes of the Import API and the exception with such a code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

UNKNOWN = 99999
_SERVER_ERRORS = frozenset({1, 1000, 6667, 6671, UNKNOWN})
_EXTERNAL_ERRORS = frozenset({1009, 1012})


@dataclass(frozen=True, slots=True)
class Code:
    """Description of an error code.

    Attributes
    ----------
    title : str
        CARTO's title.
    what_about : str
        Advice to the user.
    source : {"user", "cartodb", "external"}
        Origin of the error.
    """

    title: str
    what_about: str
    source: Literal["user", "cartodb", "external"]


class ImportRefused(Exception):
    """An import failed.

    Parameters
    ----------
    code : int
        One of `CODES`.
    detail : str, optional
        Details in one line, without paths of the server.
    """

    def __init__(self, code: int, detail: str = "") -> None:
        super().__init__(f"{code} {CODES[code].title}{': ' if detail else ''}{detail}")
        self.code, self.detail = code, detail


def _code(number: int, title: str, what_about: str) -> Code:
    if number in _SERVER_ERRORS:
        return Code(title, what_about, "cartodb")
    return Code(title, what_about, "external" if number in _EXTERNAL_ERRORS else "user")


_TEXTS = {
    1: ("Install error", "The server lacks a program that this import needs; contact its administrator."),
    1000: ("File I/O error", "The server could not read or write the file; try again later."),
    1001: ("Download error", "The file could not be downloaded; check that the URL opens in a browser."),
    1002: (
        "Unsupported/Unrecognized file type",
        "The file is in none of the formats that can be imported; save it as CSV, GeoJSON or GeoPackage, say.",
    ),
    1003: ("Decompression error", "The archive is damaged or incomplete; pack the files again."),
    1004: ("XLS/XLSX Error", "The spreadsheet cannot be read; save it again, or export it as CSV."),
    1005: ("Empty file", "There is nothing in the file; check that it was written and sent completely."),
    1006: (
        "Invalid SHP file",
        "The shapefile is damaged or incomplete; its .shp, .shx and .dbf must all be in the archive.",
    ),
    1007: ("Too many nodes", "The area holds more OpenStreetMap nodes than one import may have; choose a smaller one."),
    1008: ("GDrive access forbidden", "Google Drive does not let the account read the file; check how it is shared."),
    1009: ("Twitter server error", "Twitter did not answer as it should; try again later."),
    1010: ("Not a file", "The URL leads to a page or a directory; give the one of the file itself."),
    1011: (
        "Error retrieving data from datasource",
        "The datasource sent no usable data; check what was asked of it.",
    ),
    1012: ("Error connecting to datasource", "The datasource cannot be reached; check its address or try again later."),
    1013: ("Invalid ArcGIS version", "The ArcGIS server is too old to be read; its version must be 10.1 or later."),
    1014: ("Invalid name", "No table can have this name; choose another one."),
    1015: ("No results", "The datasource returned no rows; change what is asked of it."),
    1016: ("Dropbox permission revoked", "Dropbox no longer lets the account in; connect it again."),
    1017: ("GDrive file was deleted", "The file is no longer in Google Drive; choose another one."),
    1018: ("File is password protected", "The file can only be opened with a password; save it without one."),
    1019: ("Too many layers", "The file would become more tables than one import may make; split it."),
    1020: ("Download timeout", "The file took too long to download; try again, or upload it."),
    1021: ("Box permission revoked", "Box no longer lets the account in; connect it again."),
    1022: (
        "All tables were skipped",
        "Tables of these names exist and were to be kept, so that nothing was left to import.",
    ),
    1023: ("ArcGIS server misconfiguration", "The ArcGIS server describes its data wrongly; ask who runs it."),
    1100: ("Download file not found", "There is no file at the URL; check it for mistakes."),
    1101: ("Forbidden file URL", "The file may not be fetched from this URL; check who may read it."),
    1102: ("Unknown server URL", "There is no server of the name in the URL; check it for mistakes."),
    1103: ("Partial file error", "The connection broke off before the end of the file; try again."),
    1500: ("Connector error", "The other database refused; check the connection and the query."),
    1501: ("Connectors disabled", "The account may not import from other databases."),
    1502: ("Connector invalid parameters", "The description of the connection lacks something or has too much."),
    2001: ("Unable to load data", "The file was recognized, but its rows could not be loaded; check it for damage."),
    2002: ("Encoding detection error", "The encoding of the text could not be found out; save the file as UTF-8."),
    2003: (
        "Malformed CSV",
        "The rows of the file do not fit its header; check delimiters, quotes and the number of fields in each line.",
    ),
    2004: ("Too many columns", "The table would have more columns than the account allows; leave some out."),
    2005: ("Duplicated column", "Two columns have the same name; rename one of them."),
    2006: ("Encoding error", "Some of the text is not in the encoding of the rest; save the file as UTF-8."),
    2007: ("Encoding error", "Some of the text cannot be stored; save the file as UTF-8."),
    2008: ("Malformed XLS", "The sheet is not a plain table with one header; tidy it up or export it as CSV."),
    2009: ("KML without style Id", "A style of the KML file has no id; add it or remove the style."),
    2010: ("Incompatible CARTO table", "A column of the file clashes with those that CARTO adds; rename it."),
    2011: (
        "Invalid cartodb_id column",
        "The column cartodb_id must hold different whole numbers and no gaps; rename or correct it.",
    ),
    2012: (
        "Incompatible schemas",
        "The new data lacks a column of the table, or has another type in it; the table was left as it is.",
    ),
    2013: ("Cannot overwrite table", "What has this name is not a table that could be overwritten; choose another."),
    2014: ("Invalid geometries", "Some geometries cannot be read or shown on a map; repair them before importing."),
    3007: ("JSON may not be valid GeoJSON", "The file is not GeoJSON; check it with a validator."),
    3008: ("Unknown SRID", "The coordinate system of the file is not known; reproject the data to EPSG:4326."),
    3009: ("SHP normalization error", "The shapefile could not be prepared for loading; write it again."),
    3101: (
        "Missing projection (.prj) file",
        "Without its .prj file nobody can tell where the shapefile lies; add it to the archive.",
    ),
    3201: ("Geometry Collection not supported", "Collections of geometries cannot be imported; split them."),
    3202: ("Empty KML", "There is no placemark in the KML file; files that only link to others cannot be imported."),
    6666: ("Dataset too big", "The file, or what is packed in it, is larger than the account allows; split it."),
    6667: ("Import timed out", "The import took too long; split the file, or try again later."),
    6668: ("Too many table rows", "The table would have more rows than the account allows; split the file."),
    6669: ("Too many concurrent imports", "Other imports are under way; wait until one of them has ended."),
    6670: ("Too many named map templates", "The account has as many named maps as it may; delete some."),
    6671: ("Stuck import job", "The import stopped without an end; start it again."),
    8001: ("Over account storage limit", "There is no room left in the account; drop tables that are not needed."),
    8002: ("Over dataset limit for plan", "The account has as many tables as it may; drop some."),
    8003: ("Error creating table from SQL query", "The query failed; try it over the SQL API first."),
    8004: ("Merge with unmatching column types", "The columns to merge by have different types; convert one."),
    8005: ("Max layers per map reached", "The map has as many layers as it may; remove one."),
    8006: ("Not enough Twitter credits", "The account's credits for Twitter are used up."),
    8007: ("Over account maps limit", "The account has as many maps as it may; delete some."),
    8008: ("Over account datasets limit", "The account has as many datasets as it may; delete some."),
    UNKNOWN: ("Unknown", "An unexpected error occurred; contact the administrator of the server."),
}
CODES: dict[int, Code] = {number: _code(number, *texts) for number, texts in _TEXTS.items()}
