"""Hash the passwords of members and maps."""

from __future__ import annotations

import hashlib
import secrets


def hash_password(password: str) -> str:
    """Return ``<salt>$<scrypt hash>`` of a password, in hexadecimal digits."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1).hex()}"
