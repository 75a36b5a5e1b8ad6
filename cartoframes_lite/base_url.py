"""Base URLs of accounts: the forms that users type or copy, and the one that requests use."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from cartoframes_lite.errors import CredentialsError

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# Paths below the base URL, by their first segment: of the APIs, and of pages that a browser shows.
_PAGES = {"", "api", "dashboard", "datasets", "dataset", "tables", "table", "maps", "map", "viz", "builder"}
_PAGES |= {"me", "profile", "account", "login", "signup", "your_apps", "feed", "search", "solutions"}
_PLATFORM_3 = re.compile(r"(?:.*\.)?(?:api|app|auth)\.carto\.com")
_OF_USER = re.compile(r"(?P<prefix>(?:/[^/]+)*?)/u(?:ser)?/(?P<name>[^/]+)")


def is_url(username: str) -> bool:
    """Return whether a username is the URL or the host of an account."""
    return "://" in username or username.strip().endswith(".carto.com")


def parse_base_url(url: str, username: str | None, allow_non_secure: bool) -> tuple[str, str]:
    """Return the normalized base URL, and the username that it contains.

    Parameters
    ----------
    url : str
    username : str or None
        Name that the caller knows, for the advice in messages.
    allow_non_secure : bool
        Whether ``http`` is allowed for hosts other than localhost.
    """
    text = url.strip()
    if "://" not in text and text.partition("/")[0].endswith(".carto.com"):
        text = f"https://{text}"
    parts = urlsplit(text)
    if parts.fragment or "@" in parts.netloc or (parts.query and not _is_api_query(parts.path, parts.query)):
        raise ValueError(
            "base_url contains a user, password, query or fragment: remove it, and pass the key as api_key"
        )
    host = parts.hostname
    # urlsplit and urllib3 disagree on some characters: a backslash ends the host name only for urllib3.
    if parts.scheme not in ("https", "http") or not host or not re.fullmatch(r"[\w.:\[\]-]+", parts.netloc):
        raise ValueError(f"base_url {url!r} must begin with https:// and a host name")
    if _PLATFORM_3.fullmatch(host):
        raise CredentialsError(
            f"{host} belongs to CARTO 3, whose tables are in data warehouses and whose APIs differ: this package works"
            " with accounts of the platform before it, such as https://USER.carto.com; for CARTO 3 use CARTO's own"
            " packages"
        )
    if parts.scheme == "http" and host not in LOOPBACK and not allow_non_secure:
        raise ValueError(f"base_url {url!r} would send the key in clear text: use https, or pass allow_non_secure=True")
    return _split_user(f"{parts.scheme}://{parts.netloc}", host, parts.path, username)


def _is_api_query(path: str, query: str) -> bool:
    """Return whether a query is of an API request without a key, which the base URL does without."""
    return "/api/" in path and not any(re.search("key|token", name, re.IGNORECASE) for name in parse_qs(query, True))


def _split_user(root: str, host: str, path: str, username: str | None) -> tuple[str, str]:
    """Return base URL and username for the parts of a URL."""
    first = path.strip("/").partition("/")[0]
    found = None if first in _PAGES else _OF_USER.match(path)
    if found:
        prefix = found["prefix"]
        if not re.fullmatch(r"(?:/(?!\.+(?:/|$))[\w.~-]+)*", prefix):
            raise ValueError(f"base_url {root + path!r} has characters in its path that are not allowed there")
        return f"{root}{prefix}/user/{found['name']}", found["name"]
    labels = host.removeprefix("www.").split(".")
    if first == "api" and len(labels) == 2 and host not in LOOPBACK:  # the API of a portal with a single account
        return root, username or labels[0]
    if first not in _PAGES or len(labels) < 3 or host in LOOPBACK or re.fullmatch(r"[\d.]+", host):
        prefix = "" if first in _PAGES else path.rstrip("/")
        name = username or "NAME"
        raise ValueError(f"base_url {root + path!r} contains no username: use {root}{prefix}/user/{name}")
    return root, labels[0]
