"""Messages of the Import API for downloads that failed, by HTTP status of the response."""

from __future__ import annotations

_AUTHORIZATION = (
    "This usually means CARTO is not authorized to retrieve this file. If you have authorization, download the file"
    " manually and upload it from your computer."
)
_NOT_NEGOTIATED = (
    "This usually means CARTO could not negotiate the download with the file's provider. The provider is probably"
    " using a non standard method to serve this file."
)
_MOVED = "This usually means the file has been moved! Click on the link to get its new location."
_FOUND = "This usually means the file has been temporally moved! Click on the link to get its new location."
_OVERLOADED = (
    "This usually means the file provider responded with an internal server error. They might be overloaded or having"
    " some down time. Try again later!"
)
_MESSAGES = {
    **dict.fromkeys((300, 301, 303), _MOVED),
    **dict.fromkeys((302, 307), _FOUND),
    400: "This usually means CARTO did not perform the request properly.",
    **dict.fromkeys((401, 402, 511), _AUTHORIZATION),
    403: f"{_AUTHORIZATION} Tip: Should you be using 'https' instead of 'http' in your URL?",
    404: "This usually means no file was found at the specified URL.",
    **dict.fromkeys((405, 412, 417, 501), _NOT_NEGOTIATED),
    407: (
        "This usually means CARTO is not authorized to retrieve this file as proxy authentication is required. If you"
        " can use the apropiate proxy, download the file manually and upload it from your computer."
    ),
    408: "This usually means a timeout request was produced. You may want to try again.",
    409: "This usually means a confilict in the request was produced. You might want to try again.",
    410: "This usually means the file specified is now longer available at this location.",
    411: "This usually means CARTO did not perform the request properly. 'Content Length' header is missing.",
    413: "This usually means the file provider is denying the download because the file is too large.",
    **dict.fromkeys((500, 503), _OVERLOADED),
    502: "This usually means the file provider responded with a bad gateway error.",
    505: (
        "This usually means the file provider doesn't seem to support the HTTP version used in the transaction. The"
        " provider is probably using a non standard method to serve this file."
    ),
}
_OF_CLASS = {
    1: "This usually means more actions are required to download this file.",
    3: "This usually means an unknown redirection error has occured.",
    4: "This usually means an unknown client error has occured.",
    5: "This usually means an unknown server error has occured.",
}


def status_message(status: int) -> str:
    """Return CARTO's explanation of the HTTP status of a failed download."""
    return _MESSAGES.get(status) or _OF_CLASS.get(status // 100, "This is an unkown type of HTTP status code.")
