"""Hash and check the passwords of members, maps and published pages."""

from __future__ import annotations

import hashlib
import hmac
import secrets


def hash_password(password: str) -> str:
    """Return ``<salt>$<scrypt hash>`` of a password, in hexadecimal digits."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}${_scrypt(password, salt)}"


def check_password(password: str, password_hash: str) -> bool:
    """Return whether a password matches a hash of `hash_password`."""
    salt, _, expected = password_hash.partition("$")
    return hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)), expected)


def _scrypt(password: str, salt: bytes) -> str:
    """Return the scrypt hash of a password, in hexadecimal digits."""
    return hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1).hex()
