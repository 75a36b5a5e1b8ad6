"""Which addresses the server may connect to on a user's behalf.

A user could otherwise make the server ask, from inside a network, what the user cannot ask from outside of it.
Names are resolved here once, and connections go to the addresses that were checked: a second lookup might give
others.
"""

from __future__ import annotations

import ipaddress
import socket

from cartoframes_lite.local.imports.files import ImportRefused
from cartoframes_lite.local.plan import Plan

_UNKNOWN_SERVER = 1102
_FORBIDDEN = 1101
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def resolve(host: str, port: int, plan: Plan) -> list[str]:
    """Look a host up and check all of its addresses.

    Parameters
    ----------
    host : str
        Name or address.
    port : int
    plan : Plan
        Whether private addresses are allowed.

    Returns
    -------
    list of str
        IPv4 and IPv6 addresses, in the order to try them.

    Raises
    ------
    ImportRefused
        1102 for a host that nobody knows, 1101 for one with an address that is not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: labels that are too long or empty
        raise ImportRefused(_UNKNOWN_SERVER, f"the host {host!r} is not known") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not plan.private_addresses and not allowed(address):
            raise ImportRefused(_FORBIDDEN, f"the host {host!r} has an address that is not public")
    return addresses


def allowed(address: str) -> bool:
    """Tell whether an address is public or this machine's loopback.

    Parameters
    ----------
    address : str
        IPv4 or IPv6, also with an IPv4 address inside.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = _inner(ip)
        if inner is not None:
            return allowed(str(inner))
        if ip.is_site_local:
            return False
    if ip.is_loopback:
        return True
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


def _inner(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for."""
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
