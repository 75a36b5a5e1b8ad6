"""Passwords that are kept: of members and of maps."""

from __future__ import annotations

import hashlib
import secrets


def hashed(password: str) -> str:
    """Return what may be stored of a password: its salt and its scrypt hash, in hexadecimal digits."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1).hex()}"
