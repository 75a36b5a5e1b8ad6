"""Resolve host names and reject addresses that the server must not connect to for a user.

Prevents server-side request forgery (SSRF). Connections go to the addresses checked here: a second DNS lookup
could return others.
"""

from __future__ import annotations

import ipaddress
import socket

from cartoframes_lite.local.imports.files import ImportJobError
from cartoframes_lite.local.plan import Plan

_UNKNOWN_SERVER = 1102
_FORBIDDEN = 1101
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def resolve(host: str, port: int, plan: Plan) -> list[str]:
    """Resolve a host and check all of its addresses.

    Parameters
    ----------
    host : str
        Host name or IP address.
    port : int
    plan : Plan
        Whether private addresses are allowed.

    Returns
    -------
    list of str
        IPv4 and IPv6 addresses, in the order to try them.

    Raises
    ------
    ImportJobError
        1102 if the host cannot be resolved, 1101 if one of its addresses is not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: labels that are too long or empty
        raise ImportJobError(_UNKNOWN_SERVER, f"could not resolve the host {host!r}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not plan.private_addresses and not is_allowed(address):
            raise ImportJobError(_FORBIDDEN, f"the host {host!r} has an address that is not public")
    return addresses


def is_allowed(address: str) -> bool:
    """Return whether an address is public or loopback.

    Parameters
    ----------
    address : str
        IPv4 or IPv6. An IPv4 address embedded in an IPv6 address is checked instead of it.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = _embedded_ipv4(ip)
        if embedded is not None:
            return is_allowed(str(embedded))
        if ip.is_site_local:
            return False
    if ip.is_loopback:
        return True
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


def _embedded_ipv4(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address embedded in an IPv6 address (NAT64, mapped, 6to4 or Teredo)."""
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
