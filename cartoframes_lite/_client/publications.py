"""Published pages (CARTO's Kuviz): HTML documents that the account serves at a URL, public or with a password."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args
from urllib.parse import quote

from cartoframes_lite._client import nonpublic
from cartoframes_lite._client.http.json_fields import drop_none, parse_datetime, required, text
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.listing import Listing
from cartoframes_lite._client.platform import Platform
from cartoframes_lite._client.visualizations import Visualization, Visualizations
from cartoframes_lite._codec.html import Link, html_table
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import NotFound

PATH = "api/v4/kuviz"
_MAX_REQUEST_BYTES = 10 << 20
_MAX_OTHER_BYTES = 4096  # of the request without the document: the API key and the names of the members

PublicationPrivacy = Literal["link", "public", "password"]
IfExists = Literal["fail", "replace"]


@dataclass(frozen=True, slots=True)
class Publication:
    """An immutable snapshot of a published page.

    Returned by ``list_publications`` and ``Client.publications``.

    Attributes
    ----------
    id : str
    name : str
    url : str
        URL of the page. It needs no API key.
    privacy : str
        "public" or "password".
    created_at, updated_at : datetime or None
        With time zone.
    """

    id: str
    name: str
    url: str
    privacy: str
    created_at: datetime | None
    updated_at: datetime | None
    credentials: Credentials = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def from_response(cls, response: Mapping[str, Any], credentials: Credentials) -> Publication:
        """Parse a response of the API."""
        page_id = required(response, "id")
        return cls(
            id=page_id,
            name=required(response, "name"),
            url=text(response, "url") or _url(page_id, credentials),
            privacy=required(response, "privacy").lower(),
            created_at=parse_datetime(response.get("created_at")),
            updated_at=parse_datetime(response.get("updated_at")),
            credentials=credentials,
        )

    def update(
        self,
        html: str | None = None,
        *,
        name: str | None = None,
        privacy: PublicationPrivacy | None = None,
        password: str | None = None,
    ) -> Publication:
        """Update the page; its URL remains the same. Arguments that are None leave their value unchanged.

        Parameters
        ----------
        html : str, optional
            New document.
        name : str, optional
            New name.
        privacy : {"link", "public", "password"}, optional
            As in ``Client.publications.create``. "link" and "public" remove the password.
        password : str, optional
            New password; the privacy becomes "password".

        Returns
        -------
        Publication
            The updated page.

        Raises
        ------
        NotFound
            If the page was deleted.
        ValueError
            If the document is not HTML or too large, or privacy and password contradict each other.
        APIError
            If another page has the name.
        """
        return self._service.update(self.id, html, name=name, privacy=privacy, password=password)

    def delete(self) -> None:
        """Delete the page.

        Raises
        ------
        NotFound
            If it was deleted already.
        """
        self._service.delete(self.id)

    @property
    def _service(self) -> Publications:
        return Publications(Transport(self.credentials))

    def _repr_html_(self) -> str:
        rows = {
            "page": Link(self.url),
            "privacy": self.privacy,
            "created": self.created_at,
            "updated": self.updated_at,
        }
        return html_table(f"Published page {self.name}", rows)


class Publications:
    """``client.publications``: published pages, CARTO's Kuviz. CARTO does not document this API.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._platform = Platform(transport)
        self._visualizations = Visualizations(transport)

    def list(self) -> list[Publication]:
        """List the published pages of the account, sorted by name.

        With a key other than the master key, only pages without a password are listed.
        """
        found = map(_publication, self._visualizations.list("kuviz"))
        return Listing(found, "published pages", _columns)

    def create(
        self,
        html: str,
        *,
        name: str,
        privacy: PublicationPrivacy = "link",
        password: str | None = None,
        if_exists: IfExists = "fail",
    ) -> Publication:
        """Publish an HTML document.

        Parameters
        ----------
        html : str
            The document, with an ``html`` element. The request must not exceed 10 MB, which leaves about 7.8 MB for the
            document in UTF-8.
        name : str
            Name of the page, unique among the published pages of the account.
        privacy : {"link", "public", "password"}, default "link"
            "link" and "public": anyone who has the URL can open the page. CARTO has no difference between the two for
            pages: both are "public" on the server, and its catalog lists their URLs without an API key. "password":
            visitors are asked for the password.
        password : str, optional
            Password of the page; ``privacy`` need not be given then.
        if_exists : {"fail", "replace"}, default "fail"
            What to do if there is a published page of this name. "replace": update it; its URL remains the same.

        Returns
        -------
        Publication
            The page, with its ``url``.

        Raises
        ------
        PermissionDenied
            If the key is not the master key.
        ValueError
            If the document is not HTML or too large, or privacy and password contradict each other.
        APIError
            If another page has the name and ``if_exists`` is "fail".
        """
        if if_exists not in get_args(IfExists):
            raise ValueError(f"if_exists must be one of {get_args(IfExists)}, not {if_exists!r}")
        if not isinstance(html, str):
            raise TypeError(f"html must be str, not {type(html).__name__}")
        _check_name(name)
        body = _body(html, name, _server_privacy(privacy, password), password)
        if if_exists == "replace":
            # Not by CARTO's own parameter if_exists, which deletes maps of the same name, too.
            existing = next((page for page in self.list() if page.name == name), None)
            if existing is not None:
                return self._send("PUT", f"{PATH}/{quote(existing.id, safe='')}", body, f"replacing the page {name!r}")
        return self._send("POST", PATH, body, f"publishing the page {name!r}")

    def update(
        self,
        publication_id: str,
        html: str | None = None,
        *,
        name: str | None = None,
        privacy: PublicationPrivacy | None = None,
        password: str | None = None,
    ) -> Publication:
        """Update a published page, as ``Publication.update`` does."""
        if html is not None and not isinstance(html, str):
            raise TypeError(f"html must be str or None, not {type(html).__name__}")
        if name is not None:
            _check_name(name)
        protected = _server_privacy(privacy, password) if privacy or password is not None else None
        body = _body(html, name, protected, password)
        return self._send("PUT", f"{PATH}/{quote(publication_id, safe='')}", body, "updating a published page")

    def delete(self, publication_id: str) -> None:
        """Delete a published page.

        Raises
        ------
        NotFound
            If there is no published page of this id.
        """
        entry = self._visualizations.find(publication_id)
        if entry is None or entry.kind != "kuviz":
            message = f"there is no published page {publication_id!r}: list_publications() returns those of the account"
            raise NotFound(message, status=404, method="DELETE", url=PATH)
        self._visualizations.delete(entry.id)

    def _send(self, method: Literal["POST", "PUT"], path: str, body: Mapping[str, Any], what: str) -> Publication:
        """Create or update a page. CARTO requires the key as a parameter here: it is sent in the body."""
        transport = self._platform.transport
        nonpublic.warn(PATH, transport)
        request = {**body, "if_exists": "fail", "api_key": transport.credentials.api_key}
        return self._platform.json(method, path, what=what, read=self._parse, json_body=request)

    def _parse(self, response: Any) -> Publication:
        return Publication.from_response(response, self._platform.transport.credentials)


def _publication(entry: Visualization) -> Publication:
    """Return the page of a catalog entry."""
    return Publication(
        id=entry.id,
        name=entry.name,
        url=entry.url or _url(entry.id, entry.credentials),
        privacy=entry.privacy,
        created_at=entry.created_at,
        updated_at=entry.updated_at,
        credentials=entry.credentials,
    )


def _url(page_id: str, credentials: Credentials) -> str:
    """Return the URL of a page; responses without the master key do not contain it."""
    return f"{credentials.base_url}/kuviz/{page_id}"


def check_publication(name: object, privacy: object, password: str | None) -> None:
    """Raise ValueError if a page cannot be published with these arguments."""
    _check_name(name)
    _server_privacy(privacy, password)


def _check_name(name: object) -> None:
    """Raise ValueError for an empty name, which CARTO takes as none."""
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"name must be a non-empty str, not {name!r}")


def _server_privacy(privacy: object, password: str | None) -> str:
    """Return the privacy that CARTO knows for a page; raise ValueError if it is invalid or contradicts the password."""
    if privacy == "private":
        raise ValueError("published pages cannot be 'private': pass a password, or delete the page")
    if privacy is not None and privacy not in get_args(PublicationPrivacy):
        raise ValueError(f"privacy must be one of {get_args(PublicationPrivacy)}, not {privacy!r}")
    if password is None:
        if privacy == "password":
            raise ValueError("privacy='password' requires a password: pass password=")
        return "public"
    if privacy == "public":
        raise ValueError("a page with a password is not public: omit privacy, or omit password")
    if not isinstance(password, str) or not password.strip():  # CARTO would publish the page without a password
        raise ValueError("password must be a non-empty str or None")
    return "password"


def _body(html: str | None, name: str | None, privacy: str | None, password: str | None) -> dict[str, Any]:
    """Return the members of a request; raise ValueError for a document that CARTO refuses."""
    # CARTO accepts only documents that match /<html.*>/.
    if html is not None and not any(">" in line.partition("<html")[2] for line in html.split("\n")):
        raise ValueError("html must be a document with an <html> element, whose start tag is in one line")
    data = None if html is None else base64.b64encode(html.encode()).decode()
    body = drop_none(name=name, data=data, privacy=privacy, password=password)
    size = len(json.dumps(body)) + _MAX_OTHER_BYTES
    if size > _MAX_REQUEST_BYTES:
        limit = (_MAX_REQUEST_BYTES - _MAX_OTHER_BYTES) * 3 // 4
        raise ValueError(
            f"the document has {len(html or ''):,} characters and does not fit in a request of 10 MB (about"
            f" {limit:,} bytes of HTML): show fewer rows in the page, or simplify their geometries"
        )
    return body


def _columns(page: Publication) -> dict[str, object]:
    """Return what a list in a notebook shows of a published page, by label."""
    return {"name": page.name, "privacy": page.privacy, "page": Link(page.url), "updated": page.updated_at}
