"""Validate the parameters of users of the organization, with CARTO's messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cartoframes_lite.local.catalog import account
from cartoframes_lite.local.catalog.members import ORGANIZATION, ORGANIZATION_QUOTA_BYTES, Member, Members
from cartoframes_lite.local.http.platform import PlatformError
from cartoframes_lite.local.state import State

_DEFAULT_QUOTA_BYTES = 100 << 20
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)*")
_MAX_NAME_LENGTH = 63
_MIN_PASSWORD_LENGTH, _TOO_LONG_PASSWORD = 6, 64
_COMMON_PASSWORDS = frozenset(
    """
    000000 111111 112233 121212 123123 123321 12345 123456 1234567 12345678 123456789 1234567890 123qwe 1q2w3e 654321
    666666 7777777 888888 987654321 aa123456 abc123 access admin asdfgh ashley azerty baseball batman dragon flower
    football freedom galina hello iloveyou killer letmein login lovely master michael monkey mustang p@ssw0rd passw0rd
    password password1 princess qazwsx qwerty qwerty123 qwertyuiop secret shadow solo starwars sunshine superman
    trustno1 welcome whatever zaq12wsx zxcvbn
    """.split()  # noqa: SIM905  # a list of sixty quoted words is harder to read
)
_SOFT_LIMITS = (
    "soft_geocoding_limit",
    "soft_here_isolines_limit",
    "soft_twitter_datasource_limit",
    "soft_mapzen_routing_limit",
)
_CHANGEABLE = ("email", "password", "quota_in_bytes", *_SOFT_LIMITS, "viewer", "org_admin")


def new_member(parameters: Mapping[str, Any], members: Members) -> dict[str, Any]:
    """Return the attributes of a new member; raise PlatformError (410) with all reasons why they are invalid."""
    values, reasons = _common(parameters)
    username = parameters.get("username")
    values["username"] = "" if username is None else str(username)
    if not values["username"]:
        reasons.append("username is not present")
    else:
        reasons += _username_errors(values["username"])
    if not parameters.get("email"):
        reasons.append("email is not present")
    reasons += _password_errors(parameters.get("password"), values["username"])
    if _is_true(parameters.get("force_password_change")):
        reasons.append("force_password_change Cannot be set if password expiration is not configured")
    if "quota_in_bytes" not in values:
        values["quota_in_bytes"] = 0 if values.get("viewer") else _DEFAULT_QUOTA_BYTES
    if members.assigned_bytes() + values["quota_in_bytes"] > ORGANIZATION_QUOTA_BYTES:
        reasons.append("quota_in_bytes not enough disk quota")
    return _valid(values, reasons)


def changes(parameters: Mapping[str, Any], member: Member | None, members: Members, state: State) -> dict[str, Any]:
    """Return changes of a member, None for the owner; raise PlatformError (410) if there are none or invalid ones."""
    if not any(name in parameters for name in _CHANGEABLE):
        raise PlatformError(410, "No update params provided", name=None)
    values, reasons = _common(parameters)
    if parameters.get("email") == "":
        reasons.append("email is not present")
    if values.get("password"):
        name = state.user if member is None else member.username
        reasons += _password_errors(values["password"], name)
        if member is None:
            is_old = account.is_password(state, values["password"])
        else:
            is_old = members.has_password(member, values["password"])
        if is_old:
            reasons.append("new_password New password cannot be the same as old password")
    is_admin = values.get("org_admin", member is None or member.org_admin)
    if is_admin and values.get("viewer", member is not None and member.viewer):
        reasons.append("viewer cannot be enabled for organization admin")
    if member is not None:
        added = values.get("quota_in_bytes", member.quota_in_bytes) - member.quota_in_bytes
        if members.assigned_bytes() + added > ORGANIZATION_QUOTA_BYTES:
            reasons.append("quota_in_bytes not enough disk quota")
    return _valid(values, reasons)


def _common(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the given attributes of a user, and the reasons why they are invalid."""
    values: dict[str, Any] = {}
    reasons = []
    if parameters.get("email"):
        values["email"] = str(parameters["email"])
        if not _EMAIL.fullmatch(values["email"]) or "\x00" in values["email"]:
            reasons.append("email is invalid")
    if parameters.get("password"):
        values["password"] = str(parameters["password"])
    if parameters.get("quota_in_bytes") not in (None, ""):
        text = str(parameters["quota_in_bytes"])
        if text.isascii() and text.isdigit():
            values["quota_in_bytes"] = int(text[:18])
        else:
            reasons.append("quota_in_bytes is invalid")
    values |= {name: _is_true(parameters[name]) for name in ("viewer", "org_admin") if name in parameters}
    reasons += [
        f"{name} Organization owner hasn't this soft limit" for name in _SOFT_LIMITS if _is_true(parameters.get(name))
    ]
    return values, reasons


def _username_errors(name: str) -> list[str]:
    """Return the reasons why a user name is invalid."""
    reasons = []
    if not re.fullmatch("[a-z0-9-]+", name):
        reasons.append("username must only contain lowercase letters, numbers and the dash (-) symbol")
    if not re.match("[a-z0-9]", name):
        reasons.append("username must start with alphanumeric chars")
    if not re.search(r"[a-z0-9]\Z", name):
        reasons.append("username must end with alphanumeric chars")
    if len(name) > _MAX_NAME_LENGTH:
        reasons.append(f"username is longer than {_MAX_NAME_LENGTH} characters")
    return [*reasons, "name is taken"] if name == ORGANIZATION else reasons


def _password_errors(password: Any, username: str) -> list[str]:
    """Return the reason why a password is not allowed, if there is one."""
    if password is None or password == "":
        return ["password can't be blank"]
    text, reasons = str(password), []
    if text in _COMMON_PASSWORDS:
        reasons.append("can't be a common password")
    if text.lower() == username.lower():
        reasons.append("must be different than the user name")
    if len(text) < _MIN_PASSWORD_LENGTH:
        reasons.append(f"must be at least {_MIN_PASSWORD_LENGTH} characters long")
    if len(text) >= _TOO_LONG_PASSWORD:
        reasons.append(f"must be at most {_TOO_LONG_PASSWORD} characters long")
    return (
        [f"password {' and '.join([', '.join(reasons[:-1]), reasons[-1]] if reasons[1:] else reasons)}"]
        if reasons
        else []
    )


def _valid(values: dict[str, Any], reasons: list[str]) -> dict[str, Any]:
    """Return the values; raise PlatformError (410) if there are reasons why they are invalid."""
    if reasons:
        raise PlatformError(410, reasons, name=None)
    return values


def _is_true(value: Any) -> bool:
    """Return whether a parameter means true."""
    return value is True or value == 1 or (isinstance(value, str) and value.lower() in ("true", "t", "1"))
