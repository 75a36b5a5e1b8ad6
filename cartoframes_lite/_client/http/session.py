"""Sessions of requests: shared by all clients of a process, or that of the user; safe after a fork.

The shared sessions keep connections open between calls. They hold nothing of an account: key, URL and TLS settings are
arguments of each request, and cookies are not stored. Which connection a request may use is decided by urllib3, which
has a pool for each server, proxy and CA bundle.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NoReturn
from weakref import WeakSet

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar

from cartoframes_lite._client.http.connection import Adapter, disconnect_after_fork, use_fresh_connections
from cartoframes_lite._client.http.idle_connections import close_idle
from cartoframes_lite._client.http.request import BasicAuth, Request, user_agent
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import CredentialsError

FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, ValueError)  # that requests and urllib3 raise

_user_sessions: WeakSet[requests.Session] = WeakSet()
_shared: dict[bool, requests.Session] = {}  # by trust_env


class Sessions:
    """Send requests to one account once, with the session of the credentials or the one that all accounts share.

    Parameters
    ----------
    credentials : Credentials
    is_local : bool
        Whether the server is on this host. The connection is then not encrypted, so proxies from the environment are
        not used: they would see the API key.
    """

    def __init__(self, credentials: Credentials, *, is_local: bool) -> None:
        self._credentials, self._is_local = credentials, is_local
        self._base_url = str(credentials.base_url)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Client cannot be pickled: pickle its credentials, and create a Client of them")

    def send(self, request: Request) -> requests.Response:
        """Send a request and return the response, whose body has not been read.

        Raises
        ------
        CredentialsError
            If a certificate file is missing.
        requests.RequestException, urllib3.exceptions.HTTPError, ValueError
            If there is no response, or the request is invalid (``FAILURES``).
        """
        arguments = request.arguments()
        headers = {
            "User-Agent": user_agent(),
            "Accept-Encoding": "identity" if self._is_local else "gzip",
            **arguments.pop("headers", {}),
        }
        try:
            session = self._session()
            if self._is_local:
                arguments["proxies"] = {"http": None, "https": None, "all": None, **session.proxies}
            use_fresh_connections(not request.idempotent)
            return session.request(
                request.method,
                f"{self._base_url}/{request.path}",
                headers=headers,
                auth=BasicAuth(self._credentials),
                verify=self._credentials.verify,
                allow_redirects=False,  # never send the API key to another host
                stream=True,
                **arguments,
            )
        except FAILURES:
            raise
        except OSError as error:  # raised by requests before sending if a certificate file is missing
            raise CredentialsError(
                f"{self._base_url}: {error.args[0] if error.args else type(error).__name__}: check verify of the"
                " Credentials, cert of the session, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE"
            ) from None
        except BaseException as error:  # noqa: BLE001  # raised again
            # Such as KeyboardInterrupt: the locals of requests' frames contain the Authorization header.
            raise error.with_traceback(None) from None

    def _session(self) -> requests.Session:
        """Return the session from the credentials, or the shared one."""
        if self._credentials.session is not None:
            _user_sessions.add(self._credentials.session)
            return self._credentials.session
        trust_env = not self._is_local
        session = _shared.get(trust_env)
        # If several threads create one at a time, all of them use the first.
        return session or _shared.setdefault(trust_env, new_session(trust_env=trust_env))


class _NoCookies(RequestsCookieJar):
    """Cookie jar that stays empty: requests with other API keys use the same session."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Ignore the cookies of a response."""


class _RequestsSession(requests.Session):
    """Session that stores no cookies, and never resolves the target of a redirect, which may be no valid URL."""

    def __init__(self) -> None:
        super().__init__()
        self.cookies = _NoCookies()

    def resolve_redirects(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return iter(())


def new_session(*, trust_env: bool = True, redirects: bool = False) -> requests.Session:
    """Create a session with the connections of `connection`.

    Parameters
    ----------
    trust_env : bool, default True
        Use proxies from the environment.
    redirects : bool, default False
        Whether redirects may be followed.
    """
    session = requests.Session() if redirects else _RequestsSession()
    session.trust_env = trust_env
    session.mount("https://", Adapter())
    session.mount("http://", Adapter())
    return session


def _reset_after_fork() -> None:
    """Leave the connections to the parent: both processes would read each other's responses."""
    disconnect_after_fork()
    _shared.clear()
    close_idle()
    for session in _user_sessions:
        adapters: list[Any] = [one for one in session.adapters.values() if isinstance(one, HTTPAdapter)]
        for adapter in adapters:
            # As after unpickling: closes nothing, and acquires no lock that a thread of the parent may hold.
            adapter.__setstate__(adapter.__getstate__())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
