"""Credentials of a CARTO account, and the lookup of the default credentials."""

from __future__ import annotations

import json
import os
import re
import tempfile
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

from platformdirs import user_config_dir

from cartoframes_lite import user_warnings
from cartoframes_lite.base_url import is_url, parse_base_url
from cartoframes_lite.errors import CredentialsError, InsecureConnectionWarning

if TYPE_CHECKING:
    import requests

DEFAULT_PUBLIC = "default_public"
_FILE_NAME = "creds.json"
_SAVED_FIELDS = ("username", "api_key", "base_url", "verify", "allow_non_secure")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Credentials:
    """URL, username and API key of a CARTO account.

    Parameters
    ----------
    username : str, optional
        Name of the account, or its URL. None: taken from ``base_url``.
    api_key : str, optional
        None: ``default_public``, which can read public tables.
    base_url : str, optional
        ``https://USER.carto.com``, ``https://ORG.carto.com/user/USER``, or ``https://HOST[:PORT]/user/USER``, also
        with a path before ``/user``. URLs copied from a browser or from an API, such as
        ``https://USER.carto.com/api/v2/sql``, are accepted too, as is ``https://HOST/api/v2/sql`` of a portal with one
        account. None: ``https://USERNAME.carto.com``.
    verify : bool or str, default True
        Whether to verify the TLS certificate, or the path of a CA bundle to verify it with. False emits an
        InsecureConnectionWarning. Nothing else disables verification, neither ``session`` nor environment variables.
    session : requests.Session, optional
        Session to send all requests with, e.g. to configure a proxy. Not included in pickles and saved files.
    allow_non_secure : bool, default False
        Allow ``http`` for hosts other than localhost.

    Raises
    ------
    CredentialsError
        If both username and base_url are missing or they contradict each other, if a value is empty, if ``verify``
        has another type, or if the URL is one of CARTO's current platform (CARTO 3), which has other APIs.
    ValueError
        If base_url has none of the forms above, or contains a password or query.

    Notes
    -----
    The key is sent only in the Authorization header, and reprs do not show it. Pickles of credentials, and of objects
    with credentials such as a Dataset, contain the key, because Dask workers need it. Pickles of frames do not.
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
                raise CredentialsError(f"{name} must be a non-empty str or None")
            if value is not None and _SURROGATE.search(value):  # a UnicodeEncodeError would contain the key
                raise CredentialsError(f"{name} contains a lone surrogate, which is not valid Unicode: check the value")
        if self.username is None and self.base_url is None:
            raise CredentialsError("username and base_url are both None: pass at least one of them")
        username, base_url = self.username, self.base_url
        if username is not None and is_url(username):
            url, username = parse_base_url(username, None, self.allow_non_secure)
            base_url = base_url or url
        url, user = parse_base_url(base_url or f"https://{username}.carto.com", username, self.allow_non_secure)
        # Names of users are in lower case, as hosts are.
        if username is not None and username.lower() != user.lower():
            raise CredentialsError(
                f"base_url {url!r} belongs to the user {user!r}, but username is {username!r}: omit one of them"
            )
        self._check_verify(url)
        object.__setattr__(self, "username", user)
        object.__setattr__(self, "base_url", url)
        object.__setattr__(self, "api_key", self.api_key or DEFAULT_PUBLIC)

    def _check_verify(self, url: str) -> None:
        """Reject invalid values of ``verify``, which could disable verification silently; warn about False."""
        if not isinstance(self.verify, bool | str) or self.verify == "":
            raise CredentialsError(f"verify must be True, False or the path of a CA bundle, not {self.verify!r}")
        if self.verify is False and url.startswith("https:"):
            user_warnings.warn(
                f"the TLS certificate of {url} is not verified, so an attacker on the network can read the key; "
                "pass verify='path of the CA bundle' instead of False",
                InsecureConnectionWarning,
            )

    def __repr__(self) -> str:
        key = DEFAULT_PUBLIC if self.is_public else "***"
        return f"Credentials(username={self.username!r}, api_key={key!r}, base_url={self.base_url!r})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print the repr in IPython, which would otherwise print all dataclass fields, including the key."""
        printer.text(repr(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self.username, self.api_key, self.base_url, self.verify, self.allow_non_secure)

    @property
    def is_public(self) -> bool:
        """Whether the key is ``default_public``."""
        return self.api_key == DEFAULT_PUBLIC

    @classmethod
    def from_env(cls) -> Self:
        """Read the environment variables ``CARTO_API_URL``, ``CARTO_USERNAME`` and ``CARTO_API_KEY``.

        Raises
        ------
        CredentialsError
            If neither ``CARTO_API_URL`` nor ``CARTO_USERNAME`` is set.
        """
        username, url = os.environ.get("CARTO_USERNAME") or None, os.environ.get("CARTO_API_URL") or None
        if username is None and url is None:
            raise CredentialsError("the environment sets neither CARTO_API_URL nor CARTO_USERNAME: set one of them")
        return cls(username, os.environ.get("CARTO_API_KEY") or None, base_url=url)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str] | None = None, *, profile: str | None = None) -> Self:
        """Read a file written by ``save``, or the ``creds.json`` of cartoframes.

        Parameters
        ----------
        path : path, optional
            None: ``creds.json`` in the user's configuration directory, else the one of cartoframes.
        profile : str, optional
            Name of the profile to read. None: the credentials that were saved without a profile.

        Raises
        ------
        CredentialsError
            If the file does not exist, or does not contain credentials or the profile.
        """
        candidates = [Path(path)] if path is not None else [_default_path(), _default_path("cartoframes")]
        source = next((candidate for candidate in candidates if candidate.is_file()), None)
        if source is None:
            raise CredentialsError(
                f"no credentials file at {' or '.join(map(str, candidates))}: create one with Credentials.save"
            )
        content = _read_file(source)
        profiles = None if content is None else content.get("profiles", {})
        if content is not None and isinstance(profiles, dict):
            saved = content if profile is None else profiles.get(profile)
            if profile is not None and saved is None:
                raise CredentialsError(
                    f"{source} has no profile {profile!r}, but {sorted(profiles)}: write it with"
                    f" Credentials.save(profile={profile!r})"
                )
            if profile is None and profiles and not (content.get("username") or content.get("base_url")):
                raise CredentialsError(
                    f"{source} has only profiles, {sorted(profiles)}: pass profile=, or write default credentials with"
                    " Credentials.save()"
                )
            if isinstance(saved, dict):
                return cls(
                    saved.get("username"),
                    saved.get("api_key"),
                    base_url=saved.get("base_url"),
                    verify=saved.get("verify", True),
                    allow_non_secure=saved.get("allow_non_secure", False),
                )
        raise CredentialsError(f"{source} does not contain credentials: write it again with Credentials.save")

    def save(self, path: str | os.PathLike[str] | None = None, *, profile: str | None = None) -> Path:
        """Write the credentials to a file with mode 0600, atomically. What else is in the file is kept.

        Parameters
        ----------
        path : path, optional
            None: ``creds.json`` in the user's configuration directory.
        profile : str, optional
            Name of a profile, for a file with the credentials of several accounts. None: the credentials that are
            used without a profile.

        Returns
        -------
        pathlib.Path
            Path of the file.
        """
        if profile is not None and (not isinstance(profile, str) or not profile.strip()):
            raise ValueError(f"profile must be a non-empty str or None, not {profile!r}")
        target = Path(path) if path is not None else _default_path()
        target.parent.mkdir(parents=True, exist_ok=True)
        saved = {name: getattr(self, name) for name in _SAVED_FIELDS}
        content = (_read_file(target) if target.is_file() else None) or {}
        if profile is None:
            content |= saved
        else:
            content["profiles"] = {**content.get("profiles", {}), profile: saved}
        handle, temporary_path = tempfile.mkstemp(dir=target.parent, prefix=".creds-")  # created with mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
        Path(temporary_path).replace(target)
        return target


def _read_file(path: Path) -> dict[str, Any] | None:
    """Return the content of a credentials file; None if it is not a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:  # not raised further: it contains the file, and so the key
        return None
    return content if isinstance(content, dict) else None


def _unpickle(username: str, api_key: str, base_url: str, verify: bool | str, allow_non_secure: bool) -> Credentials:
    return Credentials(username, api_key, base_url=base_url, verify=verify, allow_non_secure=allow_non_secure)


def _default_path(application: str = "cartoframes_lite") -> Path:
    return Path(user_config_dir(application)) / _FILE_NAME


_in_context: ContextVar[Credentials | None] = ContextVar("credentials", default=None)
_in_process: set_default_credentials | None = None
_used: WeakValueDictionary[str, Credentials] = WeakValueDictionary()


class set_default_credentials:  # noqa: N801  # called like a function
    """Set the default credentials, for calls without a ``credentials`` argument.

    A plain call sets them for the whole process. As a context manager it sets them inside the block, for the current
    thread or asyncio task only, and restores the previous default at the end.

    Parameters
    ----------
    credentials : Credentials, str or None
        None: remove the default. A str is the username or the URL of ``Credentials``.
    api_key : str, optional
        Key of the account, if ``credentials`` is a str, or with ``username`` or ``base_url``.
    username, base_url : str, optional
        As in ``Credentials``, instead of ``credentials``.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> ann, public = cfl.Credentials("ann", "the-api-key"), cfl.Credentials("ann")
    >>> default = cfl.set_default_credentials(ann)  # from now on
    >>> default = cfl.set_default_credentials("ann", "the-api-key")  # the same
    >>> with cfl.set_default_credentials(public):  # in this block
    ...     client = cfl.Client()
    >>> client.credentials.api_key, cfl.Client().credentials.api_key
    ('default_public', 'the-api-key')
    """

    def __init__(
        self,
        credentials: Credentials | str | EllipsisType | None = ...,
        api_key: str | None = None,
        *,
        username: str | None = None,
        base_url: str | None = None,
    ) -> None:
        global _in_process
        resolved = _default_of(credentials, api_key, username, base_url)
        self._credentials, self._process_before = resolved, _in_process
        self._is_block = False
        self._context_before = _in_context.get()
        # The default of an enclosing block would take precedence over the new one.
        _in_context.set(None)
        _in_process = self

    def __repr__(self) -> str:
        return f"<default credentials: {self._credentials!r}>"

    def __enter__(self) -> Credentials | None:
        # Mark this default as that of a block. Restoring `_in_process` would undo a default that another thread has
        # set since.
        self._is_block = True
        _in_context.set(self._credentials)
        return self._credentials

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _in_context.set(self._context_before)


def _process_default() -> Credentials | None:
    """Return the credentials that were set last for the whole process, ignoring blocks."""
    default = _in_process
    while default is not None and default._is_block:
        default = default._process_before
    return None if default is None else default._credentials


def _default_of(
    credentials: Credentials | str | EllipsisType | None,
    api_key: str | None,
    username: str | None,
    base_url: str | None,
) -> Credentials | None:
    """Return the credentials that the arguments of ``set_default_credentials`` describe."""
    if isinstance(credentials, str) and credentials.endswith(".json"):
        raise TypeError(
            f"{credentials!r} is a path: use set_default_credentials(Credentials.from_file({credentials!r}))"
        )
    if credentials is ... and username is None and base_url is None:
        raise TypeError(
            "set_default_credentials needs credentials: pass Credentials, or a username and an API key, or"
            " Credentials.from_file(); None removes the default"
        )
    is_twice = username is not None if isinstance(credentials, str) else (api_key, username, base_url) != (None,) * 3
    if credentials is not ... and is_twice:
        raise TypeError("pass either credentials, or username or base_url with api_key, to set_default_credentials")
    if credentials is ...:
        return Credentials(username, api_key, base_url=base_url)
    if isinstance(credentials, str):
        return Credentials(credentials, api_key, base_url=base_url)
    _check(credentials)
    return credentials


def _check(credentials: object) -> None:
    if credentials is not None and not isinstance(credentials, Credentials):
        raise TypeError(
            f"credentials must be Credentials, not {type(credentials).__name__}; a local server has .credentials"
        )


def resolve(credentials: Credentials | None) -> Credentials:
    """Return the argument, else the default, else the credentials of the environment, else those of the file.

    Raises
    ------
    CredentialsError
        If none of these exists.
    """
    _check(credentials)
    resolved = credentials or _in_context.get() or _process_default() or _from_env_or_file()
    _used[str(resolved.base_url)] = resolved
    return resolved


def _from_env_or_file() -> Credentials:
    if os.environ.get("CARTO_API_URL") or os.environ.get("CARTO_USERNAME"):
        return Credentials.from_env()
    if _default_path().is_file() or _default_path("cartoframes").is_file():
        return Credentials.from_file()
    raise CredentialsError(
        "no credentials found: pass them as an argument, set them with set_default_credentials, set the environment "
        "variables CARTO_API_URL (or CARTO_USERNAME) and CARTO_API_KEY, or save them in a file with Credentials.save"
    )


def last_used(base_url: str) -> Credentials | None:
    """Return the credentials last used for an account, or None if they have been garbage-collected."""
    return _used.get(base_url)
