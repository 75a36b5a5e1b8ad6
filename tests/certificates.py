"""Self-signed certificates for servers on loopback."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

OPENSSL = shutil.which("openssl")
_NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost"
_USAGE = "keyUsage=critical,digitalSignature,keyCertSign"


def self_signed(folder: Path) -> Path:
    """Create a self-signed certificate for localhost and 127.0.0.1, in a file with its key."""
    assert OPENSSL is not None  # the caller skips the test if there is none
    path, public = folder / "certificate.pem", folder / "certificate.public"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    options += ["-addext", _NAMES, "-addext", _USAGE, "-keyout", str(path), "-out", str(public)]
    subprocess.run([OPENSSL, "req", "-x509", *options], check=True, capture_output=True)
    path.write_text(path.read_text() + public.read_text())
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    """Return the SSL context of a server with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
