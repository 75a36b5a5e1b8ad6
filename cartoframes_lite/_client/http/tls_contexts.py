"""TLS contexts that connections share: loading the certificates of a CA bundle takes about 20 ms."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache

from urllib3.exceptions import SSLError
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs

_MAX_CONTEXTS = 8
_PROTOCOLS = ["http/1.1"]


def tls_context(cert_reqs: int | str | None, ca_certs: str | None, ca_cert_dir: str | None) -> ssl.SSLContext:
    """Return the context for these settings of a connection; a new one if the CA bundle has changed.

    Raises
    ------
    urllib3.exceptions.SSLError
        If the CA bundle cannot be read.
    """
    path = ca_certs or ca_cert_dir
    try:
        file = None if path is None else os.stat(path)
        version = None if file is None else (file.st_ino, file.st_size, file.st_mtime_ns)
        keys_are_logged_to = os.environ.get("SSLKEYLOGFILE")
        return _context(resolve_cert_reqs(cert_reqs), ca_certs, ca_cert_dir, version, keys_are_logged_to)
    except OSError as error:
        raise SSLError(error) from error


@lru_cache(maxsize=_MAX_CONTEXTS)
def _context(cert_reqs: int, ca_certs: str | None, ca_cert_dir: str | None, *version: object) -> ssl.SSLContext:
    """Create a context; ``version`` only distinguishes contexts."""
    context = create_urllib3_context(cert_reqs=cert_reqs)
    if ca_certs or ca_cert_dir:
        context.load_verify_locations(ca_certs, ca_cert_dir)
    elif cert_reqs != ssl.CERT_NONE:
        context.load_default_certs()
    context.set_alpn_protocols(_PROTOCOLS)
    # urllib3 sets them again for each connection, and OpenSSL copies them without a lock for that of another thread.
    context.set_alpn_protocols = _keep_protocols  # type: ignore[assignment,method-assign]  # of this context
    return context


def _keep_protocols(protocols: object) -> None:
    """Do nothing."""
