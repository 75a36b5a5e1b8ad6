"""Error codes of imports and synchronizations, with CARTO's titles and advice."""

from __future__ import annotations

from typing import Literal, NamedTuple

UNKNOWN = 99999
ALL_SKIPPED = 1022

Source = Literal["user", "cartodb", "external"]

_CARTO_ERRORS = frozenset({1, 1000, 6667, 6671, UNKNOWN})
_EXTERNAL_ERRORS = frozenset({1009, 1012})


class ErrorCode(NamedTuple):
    """Description of an error code.

    Attributes
    ----------
    title : str
    what_about : str or None
        Advice; may contain HTML.
    source : {"user", "cartodb", "external"}
        Who can fix the problem.
    """

    title: str
    what_about: str | None
    source: Source


def describe(code: int | None) -> ErrorCode:
    """Return the description of an error code; that of 99999 if the code is None or unknown."""
    number = UNKNOWN if code is None or code not in _TEXTS else code
    source: Source = "user"
    if number in _CARTO_ERRORS:
        source = "cartodb"
    elif number in _EXTERNAL_ERRORS:
        source = "external"
    return ErrorCode(*_TEXTS[number], source)


# Responses about imports contain these texts; those about synchronizations contain only the title after a later run.
# CARTO has no text for 1010.
_TEXTS: dict[int, tuple[str, str | None]] = {
    1: (
        "Install error",
        "Something seems to be wrong with the CARTO install. Please <a "
        "href='mailto:support@cartob.com?subject=Install error'>contact us</a> and we'll try to fix that quickly.",
    ),
    1000: (
        "File I/O error",
        "Something seems to be wrong with the file you uploaded. Check that it is loading fine locally and try "
        "uploading it again.",
    ),
    1001: ("Download error", "The remote URL returned an error. Please verify your file is available at that URL."),
    1002: (
        "Unsupported/Unrecognized file type",
        "Should we support this filetype? Let us know in our <a href='mailto:support@carto.com'>support email</a>!",
    ),
    1003: (
        "Decompression error",
        "The archive you uploaded didn't seem to unpack properly. Try recreating it from the original files again and "
        "uploading the new version.",
    ),
    1004: (
        "XLS/XLSX Error",
        "The XLS/XLSX archive could not be opened or contains data that cannot be imported. Try exporting it into CSV "
        "and uploading the CSV instead.",
    ),
    1005: (
        "Empty file",
        "The file appears to have no processable information. Double check that the file is indeed correct and it "
        "contains supported data. If everything appears fine, try uploading it again or <a "
        "href='mailto:support@carto.com?subject=Empty file'>contact us</a>.",
    ),
    1006: (
        "Invalid SHP file",
        "Your file appears broken. Double check that all the necessary parts of the file are included in your ZIP "
        "archive (including .shp, .prj etc.). Also, try opening the file locally using QGIS or another tool. If "
        "everything appears okay, <a href='mailto:support@carto.com?subject=Invalid SHP file'>contact us</a>.",
    ),
    1007: ("Too many nodes", "You requested too many nodes. Either request a smaller area, or use planet.osm."),
    1008: (
        "GDrive access forbidden",
        "Google denied access to GDrive. If you use Google Apps contact your administrator to allow third party Drive "
        "applications and try again.",
    ),
    1009: (
        "Twitter Server Error",
        "There was an error connecting to Twitter service to retrieve your tweets. The server might be temporally "
        "unavaliable, please try again later.",
    ),
    1010: ("Not a file", None),
    1011: (
        "Error retrieving data from datasource",
        "There was an error retrieving data from the datasource. Check that the file/data is still present.",
    ),
    1012: (
        "Error connecting to datasource",
        "There was an error trying to connect to the datasource. If this problem stays, please contact <a "
        "href='mailto:support@carto.com?subject=Error connecting to datasource'>support@carto.com</a>.",
    ),
    1013: (
        "Invalid ArcGIS version",
        "The specified ArcGIS server runs an unsupported version. Supported versions are 10.1 onwards.",
    ),
    1014: (
        "Invalid name",
        "File name is not valid. Maybe too many tables with similar names. Please change file name and try again.",
    ),
    1015: ("No results", "Query was correct but returned no results, please change the parameters and run it again."),
    1016: (
        "Dropbox permission revoked",
        "CARTO has not permission to access your files at Dropbox. Please import file again.",
    ),
    1017: ("GDrive file was deleted", "GDrive file was removed and can't be synced, please import file again."),
    1018: (
        "File is password protected",
        "File is password protected and can't be imported. Please remove password protection or create a new "
        "compressed file without password and try again.",
    ),
    1019: ("Too Many Layers", "The file has too many layers. It can have 50 as maximum."),
    1020: ("Download timeout", "Data download timed out. Check the source is not running slow and/or try again."),
    1021: ("Box permission revoked", "CARTO has not permission to access your files at Box. Please import file again."),
    1022: (
        "All tables were skipped",
        "You set 'skip' collision strategy and all tables already exist, so nothing was imported.",
    ),
    1023: (
        "ArcGIS server misconfiguration",
        "We could not import your data from the ArcGIS server. Please contact your ArcGIS server administrator and "
        'ensure that the server has the "execute queries capability" enabled.',
    ),
    1100: (
        "Download file not found",
        "Provided URL doesn't return a file (error 404). Please check that URL is still valid and that you can "
        "download the file and try again.",
    ),
    1101: (
        "Forbidden file URL",
        "Provided URL returns authentication error. Maybe it's private, or requires user and password. Please provide "
        "a valid, public URL and try again.",
    ),
    1102: (
        "Unknown server URL",
        "Provided URL can't be resolved to a known server. Maybe that URL is wrong or behind a private network. "
        "Please provide a valid, public URL and try again.",
    ),
    1103: (
        "Partial file error",
        "The resource you are trying to reach is accessible but the file transfer was shorter or larger than "
        "expected. This happens when the server first reports an expected transfer size, and then delivers data that "
        "doesn't match the previously given size. Please, try again.",
    ),
    1500: ("Connector error", "The connector used to fetch the resourced failed."),
    1501: ("Connectors disabled", "The type of connector you were trying to use is not enabled"),
    1502: (
        "Connector invalid parameters",
        "The connector couldn't be configured because the parameters were not valid.",
    ),
    2001: (
        "Unable to load data",
        "We couldn't load data from your file into the database.  Please <a "
        "href='mailto:support@carto.com?subject=Import load error'>contact us</a> and we will help you to load your "
        "data.",
    ),
    2002: (
        "Encoding detection error",
        "We couldn't detect the encoding of your file. Please, try saving your file with encoding UTF-8 or <a "
        "href='mailto:support@cartodb?subject=Encoding error in import'>contact us</a> and we will help you to load "
        "your data.",
    ),
    2003: (
        "Malformed CSV",
        "The CSV or converted XLS/XLSX to CSV file contains malformed or invalid characters. Some reasons for this "
        "error can be for example multiline header fields or multiline cells at Excel files or unquoted CSV.",
    ),
    2004: (
        "Too many columns",
        "Data has too many columns. You can only import up to 250 columns. You can delete the columns you're not "
        "interested in, or split the file into smaller ones.",
    ),
    2005: (
        "Duplicated column",
        "Your file has the same header for two or more columns. Please make column names unique and try again.",
    ),
    2006: (
        "Encoding error",
        "There was a problem reading your file. Encoding seems wrong, probably because there's a wrong character. In "
        "order to sort it out, open your file with a text editor, save it with encoding UTF-8 and try again.",
    ),
    2007: (
        "Encoding error",
        "The file you tried to import failed due to encoding issues. To fix this, force the encoding of your file "
        'using a text editor or a tool like QGis. You just need to export your files in "UTF-8" format.',
    ),
    2008: (
        "Malformed XLS",
        "The Excel file has an unsupported format or is corrupt. To fix this, open it and save as CSV or XLSX.",
    ),
    2009: (
        "KML without style Id",
        "The KML file you tried to import failed because a style element doesn't have an ID attribute. To fix this "
        "error, please open the file and add an ID to all the style tags.",
    ),
    2010: (
        "Incompatible CARTO table",
        "There was an error when converting your table into a CARTO table. Please <a "
        "href='mailto:support@carto.com?subject=CartoDBfy error'>contact us</a> and we will help you to load your "
        "data.",
    ),
    2011: (
        "Invalid cartodb_id column",
        "The import failed because your table contains an invalid cartodb_id column. If you want to use it as a "
        "primary key, its values must be integers, non-null, and unique. Otherwise, try renaming your current "
        "cartodb_id column.",
    ),
    2012: (
        "Incompatible schemas",
        "The import failed because you are trying to overwrite a table but the data you are providing is not "
        "compatible with the data that table already has. You may me changing some types or removing a column. Please "
        "check and try again",
    ),
    2013: (
        "Cannot overwrite table",
        "The synchronization failed because the destination table could not be overwritten. Please make sure that "
        "there are no database objects (e.g: views) that depend on it.",
    ),
    2014: (
        "Invalid geometries",
        "Your file appears to contain invalid geometries. Try opening the file with another GIS tool and checking the "
        "geometry validity. If everything appears to be okay, <a href='mailto:support@carto.com?subject=Invalid "
        "Geometries'>contact us</a>.",
    ),
    3007: (
        "JSON may not be valid GeoJSON",
        "We can only import GeoJSON formated JSON files. See if the source of this data supports GeoJSON or another "
        "file format for download.",
    ),
    3008: (
        "Unknown SRID",
        "The SRID of the provided file it's not in the spatial_ref_sys table. You can get rid of this error inserting "
        "the SRID specific data in the spatial_ref_sys table.",
    ),
    3009: (
        "SHP Normalization error",
        "We were unable to detect the encoding or projection of your Shapefile. Try converting the file to UTF-8 and "
        "a 4326 SRID.",
    ),
    3101: (
        "Missing projection (.prj) file",
        "CARTO needs a PRJ file for all Shapefile archives uploaded. Contact your data provider to see about aquiring "
        "one if it was missing. Otherwise see spatialreference.org to locate the right one if you know it. Remember, "
        "the file name for your .prj must be the same as your .shp.",
    ),
    3201: (
        "Geometry Collection not supported",
        "We are working to support more formats every day, but currently we cannot take mixed geometry types. Take a "
        "look at your data source and see if other formats are available, otherwise, look into tools like OGR to "
        "split this file into valid ESRI Shapefiles prior to importing. ",
    ),
    3202: (
        "Empty KML",
        "This KML doesn't include actual data, but a link to another KML with the data. Please extract the URL from "
        "this KML and try to import it",
    ),
    6666: (
        "Dataset too big",
        "The dataset you tried to import is too big and cannot be processed. If the dataset allows it, you can try "
        "splitting it into smaller files and then append them once imported, or contact our support team at <a "
        "href='mailto:support@carto.com?subject=Dataset%20too%20big%20import%20error'>support@carto.com</a>.",
    ),
    6667: (
        "Import timed out",
        "There is been a problem importing your file due to the time is been taking to process it. Please try again "
        "and contact us if the problem persist.",
    ),
    6668: (
        "Too many table rows",
        "You cannot import this dataset. The number of rows exceeds the maximum dataset quota permitted ",
    ),
    6669: (
        "Too many concurrent imports",
        "You cannot import more data until one of your active imports finishes. If you need further import slots "
        "contact our support team at <a "
        "href='mailto:support@carto.com?subject=Dataset%20too%20many%20concurrent%20imports%20error'>support@carto.com</a>.",
    ),
    6670: ("Too many named map templates", "You reached the limit on the number of named map templates."),
    6671: ("Stuck import job", "The import job was stuck and we marked it as failed. Please try importing again."),
    8001: (
        "Over account storage limit, please upgrade",
        "To upgrade your account, go to your Dashboard and click Settings. Click 'Upgrade your server'. Follow the "
        "directions for choosing a larger size and setting up your payment information.",
    ),
    8002: (
        "You have reached the limit of datasets for your plan. Upgrade your account to get unlimited datasets",
        "To upgrade your account, go to your Dashboard and click Settings. Click 'Upgrade your server'. Follow the "
        "directions for choosing a larger size and setting up your payment information.",
    ),
    8003: (
        "Error creating table from SQL query",
        "We couldn't create a table from your query. Please check it doesn't return duplicate column names. Please <a "
        "href='mailto:support@carto.com?subject=Unknown error'>contact us</a> if you need help editing your query.",
    ),
    8004: (
        "Merge with unmatching column types",
        "The columns you have chosen don't have the same column type in both tables. Please change the types so the "
        "columns will have the same type and try again.",
    ),
    8005: ("Max layers per map reached", "You can't add more layers to your map. Please upgrade your account."),
    8006: (
        "Not enough Twitter credits",
        "Unfortunately, you don't have enough Twitter credits to proceed. Please contact <a "
        "href='mailto:sales@carto.com?subject=Exceeded%20Twitter%20quota'>",
    ),
    8007: (
        "Over account maps limit, please upgrade",
        "To upgrade your account, go to your Dashboard and click Settings. Click 'Upgrade your server'. Follow the "
        "directions for choosing a larger size and setting up your payment information.",
    ),
    8008: (
        "Over account datasets limit or publication is disabled in your account",
        "Please contact us at support@carto.com indicating this error code for more information.",
    ),
    99999: (
        "Unknown",
        "Sorry, something went wrong and we're not sure what. Try\n      uploading your file again, or <a "
        "href='mailto:support@carto.com?subject=Unknown error'>contact us</a> and we'll try to help you quickly.",
    ),
}
