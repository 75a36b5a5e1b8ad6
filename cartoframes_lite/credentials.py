"""Which account, with which key; and which credentials are the current ones."""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from platformdirs import user_config_dir

from cartoframes_lite.errors import CredentialsError, InsecureConnectionWarning

if TYPE_CHECKING:
    import requests

DEFAULT_PUBLIC = "default_public"
_FILE_NAME = "creds.json"
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Credentials:
    """An account of a CARTO server and the key to it.

    Parameters
    ----------
    username : str, optional
        Name of the account. None: taken from ``base_url``.
    api_key : str, optional
        None: ``default_public``, which reads public tables.
    base_url : str, optional
        ``https://USER.carto.com``, ``https://ORG.carto.com/user/USER``, or ``https://HOST[:PORT]/user/USER``; also as
        pasted from the address bar, with ``/u/USER`` or ``/dashboard``. None: ``https://USERNAME.carto.com``.
    verify : bool or str, default True
        Whether to check the TLS certificate, or the path of a CA bundle to check it with. False gives an
        InsecureConnectionWarning; nothing else can turn it off, also not the session.
    session : requests.Session, optional
        Used for every request, e.g. for proxies. Not kept by pickles and files.
    allow_non_secure : bool, default False
        Allow ``http`` for a host other than this one.

    Raises
    ------
    CredentialsError
        If there is neither a username nor a base_url, they do not fit together, or ``verify`` is neither.
    ValueError
        If base_url is not one of the forms above, or holds a key.

    Notes
    -----
    The key is sent in the Authorization header only, and no repr shows it. A pickle holds it, for the workers of
    Dask and the like need it; so do pickles of what has credentials, such as a Dataset. Those of frames do not.
    """

    username: str | None = None
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = field(default=None, kw_only=True)
    verify: bool | str = field(default=True, kw_only=True)
    session: requests.Session | None = field(default=None, kw_only=True, repr=False, compare=False)
    allow_non_secure: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("username", "api_key", "base_url"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise CredentialsError(f"{name} must be a text that is not empty, or None")
            if value is not None and _SURROGATE.search(value):  # the error of encoding it would show it
                raise CredentialsError(f"{name} has a lone surrogate, which is no Unicode")
        if self.username is None and self.base_url is None:
            raise CredentialsError("Credentials need a username or a base_url")
        url, user = _normalize(self.base_url or f"https://{self.username}.carto.com", self.allow_non_secure)
        if self.username is not None and self.username != user:
            raise CredentialsError(f"base_url {url!r} is of the user {user!r}, but username is {self.username!r}")
        self._check_verify(url)
        object.__setattr__(self, "username", user)
        object.__setattr__(self, "base_url", url)
        object.__setattr__(self, "api_key", self.api_key or DEFAULT_PUBLIC)

    def _check_verify(self, url: str) -> None:
        """Refuse what would turn the verification off without saying so, and warn of what says so."""
        if not isinstance(self.verify, bool | str) or self.verify == "":
            raise CredentialsError(f"verify must be True, False or the path of a CA bundle, not {self.verify!r}")
        if self.verify is False and url.startswith("https:"):
            warnings.warn(
                f"the TLS certificate of {url} is not verified: whoever is in between can read the key; "
                "pass verify='path of the CA bundle' instead",
                InsecureConnectionWarning,
                stacklevel=4,
            )

    def __repr__(self) -> str:
        key = DEFAULT_PUBLIC if self.is_public else "***"
        return f"Credentials(username={self.username!r}, api_key={key!r}, base_url={self.base_url!r})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Keep IPython, and what prints values like it, from listing the fields of a dataclass."""
        printer.text(repr(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self.username, self.api_key, self.base_url, self.verify, self.allow_non_secure)

    @property
    def is_public(self) -> bool:
        """Whether these are credentials without a key of the account."""
        return self.api_key == DEFAULT_PUBLIC

    @classmethod
    def from_env(cls) -> Self:
        """Read ``CARTO_API_URL``, ``CARTO_USERNAME`` and ``CARTO_API_KEY``.

        Raises
        ------
        CredentialsError
            If neither of the first two is set.
        """
        username, url = os.environ.get("CARTO_USERNAME") or None, os.environ.get("CARTO_API_URL") or None
        if username is None and url is None:
            raise CredentialsError("neither CARTO_API_URL nor CARTO_USERNAME is set in the environment")
        return cls(username, os.environ.get("CARTO_API_KEY") or None, base_url=url)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str] | None = None) -> Self:
        """Read a file that ``save`` wrote, or cartoframes' ``creds.json``.

        Parameters
        ----------
        path : path, optional
            None: the file in the user's configuration folder, else the one of cartoframes.

        Raises
        ------
        CredentialsError
            If there is no such file, or it does not hold credentials.
        """
        candidates = [Path(path)] if path is not None else [_default_path(), _default_path("cartoframes")]
        found = next((candidate for candidate in candidates if candidate.is_file()), None)
        if found is None:
            raise CredentialsError(f"there are no credentials at {' or '.join(map(str, candidates))}")
        try:
            content = json.loads(found.read_text(encoding="utf-8"))
            return cls(
                content.get("username"),
                content.get("api_key"),
                base_url=content.get("base_url"),
                verify=content.get("verify", True),
                allow_non_secure=content.get("allow_non_secure", False),
            )
        except (AttributeError, json.JSONDecodeError):
            pass
        # Not inside `except`: a JSONDecodeError in the context holds the whole file, and the key with it.
        raise CredentialsError(f"{found} does not hold credentials as Credentials.save writes them")

    def save(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write to a file that only its owner may read (mode 0600), replacing it in one step.

        Parameters
        ----------
        path : path, optional
            None: ``creds.json`` in the user's configuration folder.

        Returns
        -------
        pathlib.Path
            Where they are.
        """
        target = Path(path) if path is not None else _default_path()
        target.parent.mkdir(parents=True, exist_ok=True)
        kept = ("username", "api_key", "base_url", "verify", "allow_non_secure")
        content = {name: getattr(self, name) for name in kept}
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".creds-")  # has mode 0600 from the start
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
        Path(name).replace(target)
        return target


def _unpickle(username: str, api_key: str, base_url: str, verify: bool | str, allow_non_secure: bool) -> Credentials:
    return Credentials(username, api_key, base_url=base_url, verify=verify, allow_non_secure=allow_non_secure)


def _default_path(application: str = "cartoframes_lite") -> Path:
    return Path(user_config_dir(application)) / _FILE_NAME


def _normalize(url: str, allow_non_secure: bool) -> tuple[str, str]:
    """Bring a URL to its one form and find the user in it."""
    parts = urlsplit(url.strip())
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("base_url must not have a user, a password, a query or a fragment; the key goes into api_key")
    host = parts.hostname
    # A backslash, for one, ends the name of the host for urllib3, and not for urlsplit.
    if parts.scheme not in ("https", "http") or not host or not re.fullmatch(r"[\w.:\[\]-]+", parts.netloc):
        raise ValueError(f"base_url {url!r} must begin with https:// and the name of a host")
    if parts.scheme == "http" and host not in LOOPBACK and not allow_non_secure:
        raise ValueError(
            f"base_url {url!r} would send the key in clear text: use https, or pass allow_non_secure=True if you must"
        )
    path = re.match(r"/u(?:ser)?/([^/]+)", parts.path)
    if path:
        return f"{parts.scheme}://{parts.netloc}/user/{path[1]}", path[1]
    if parts.path.strip("/") and not parts.path.startswith("/dashboard"):
        raise ValueError(f"base_url {url!r} must end in /user/NAME, or name the user as https://NAME.carto.com does")
    labels = host.removeprefix("www.").split(".")
    if len(labels) < 3 or host in LOOPBACK or re.fullmatch(r"[\d.]+", host):
        raise ValueError(f"base_url {url!r} does not name a user: use {parts.scheme}://{parts.netloc}/user/NAME")
    return f"{parts.scheme}://{parts.netloc}", labels[0]


_in_context: ContextVar[Credentials | None] = ContextVar("credentials", default=None)
_in_process: set_default_credentials | None = None
_used: WeakValueDictionary[str, Credentials] = WeakValueDictionary()


class set_default_credentials:  # noqa: N801  # used as a function, and so named
    """Set the credentials to use where none are given.

    Called, it holds for the whole process. As a context manager it holds inside the block, for this thread or
    task only, and what was set before comes back.

    Parameters
    ----------
    credentials : Credentials or None
        None: none.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> ann, public = cfl.Credentials("ann", "the-api-key"), cfl.Credentials("ann")
    >>> default = cfl.set_default_credentials(ann)  # from now on
    >>> with cfl.set_default_credentials(public):  # in this block
    ...     client = cfl.Client()
    >>> client.credentials.api_key, cfl.Client().credentials.api_key
    ('default_public', 'the-api-key')
    """

    def __init__(self, credentials: Credentials | None) -> None:
        global _in_process
        _check(credentials)
        self._credentials, self._process_before = credentials, _in_process
        self._is_block = False
        self._context_before = _in_context.get()
        # What an enclosing block has set would hide the new default.
        _in_context.set(None)
        _in_process = self

    def __repr__(self) -> str:
        return f"<default credentials: {self._credentials!r}>"

    def __enter__(self) -> Credentials | None:
        # A mark instead of putting the one before back: another thread may have set one since.
        self._is_block = True
        _in_context.set(self._credentials)
        return self._credentials

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _in_context.set(self._context_before)


def _process_default() -> Credentials | None:
    """Give what was set last for the whole process; blocks do not count."""
    setting = _in_process
    while setting is not None and setting._is_block:
        setting = setting._process_before
    return None if setting is None else setting._credentials


def _check(credentials: object) -> None:
    if credentials is not None and not isinstance(credentials, Credentials):
        raise TypeError(f"expected Credentials, got {type(credentials).__name__}; a local server has .credentials")


def resolve(credentials: Credentials | None) -> Credentials:
    """Choose: the argument, else the default that is set, else the environment, else the file.

    Raises
    ------
    CredentialsError
        If there are none anywhere.
    """
    _check(credentials)
    found = credentials or _in_context.get() or _process_default() or _from_surroundings()
    _used[str(found.base_url)] = found
    return found


def _from_surroundings() -> Credentials:
    if os.environ.get("CARTO_API_URL") or os.environ.get("CARTO_USERNAME"):
        return Credentials.from_env()
    if _default_path().is_file() or _default_path("cartoframes").is_file():
        return Credentials.from_file()
    raise CredentialsError(
        "no credentials: pass them as an argument, set them with set_default_credentials, put CARTO_API_URL (or "
        "CARTO_USERNAME) and CARTO_API_KEY into the environment, or save them in a file with Credentials.save"
    )


def last_used(base_url: str) -> Credentials | None:
    """Find the credentials that were last used for an account, if they are still alive."""
    return _used.get(base_url)
