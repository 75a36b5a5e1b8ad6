"""The server connects to no address of its own network, in any notation."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from cartoframes_lite.local.imports.allowed_addresses import is_allowed, resolve
from cartoframes_lite.local.imports.files import ImportJobError
from cartoframes_lite.local.plan import Plan
from tests.http_servers import ANYWHERE

PRIVATE = [
    *("10.0.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "169.254.169.254", "0.0.0.0", "0.1.2.3", "192.0.0.1"),
    *("198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "fc00::1", "fd12::1", "fe80::1", "fec0::1"),
    *("ff02::1", "::ffff:10.0.0.1", "::ffff:0.0.0.0", "::ffff:a9fe:a9fe", "64:ff9b::10.0.0.1", "2002:a00:1::"),
    *("::10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b:1::10.0.0.1", "2001:db8::1", "100::1"),
]
WRITTEN = [
    "167772161",
    "0x0a000001",
    "012.0.0.1",
    "0xa.1",
    "10.1",
    "10.0.1",
    "0",
    "00",
    "0x0",
    "169.254.43518",
    "127.1.example",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address):
    assert not is_allowed(address)
    with pytest.raises(ImportJobError) as caught:
        resolve(address, 80, Plan())
    assert caught.value.code == 1101


@pytest.mark.parametrize("host", WRITTEN)
def test_private_addresses_in_other_notations_are_refused(host):
    with pytest.raises(ImportJobError) as caught:
        resolve(host, 80, Plan())
    assert caught.value.code in (1101, 1102)


@pytest.mark.parametrize("address", PRIVATE[:6])
def test_imports_from_private_addresses_are_refused(api_calls, address, recording_server):
    first = recording_server()
    first.redirect(ANYWHERE, f"http://{address}:{first.server_port}/t.csv")
    for url in (f"http://{address}/t.csv", f"{first.url}/t.csv"):
        failed = api_calls.imported(json={"url": url})
        assert (failed["state"], failed["error_code"]) == ("failure", 1101)
    connection = {"server": address, "database": "x", "username": "x", "password": "x"}
    connector = {"provider": "postgres", "connection": connection, "table": "t"}
    failed = api_calls.imported(json={"connector": connector})
    assert (failed["state"], failed["error_code"]) == ("failure", 1101)
    assert len(first.requests) == 1


def test_names_that_resolve_to_private_addresses_are_refused():
    name = socket.gethostname()
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(name, 80)}
    except OSError:
        pytest.skip("the name of this machine is not known to it")
    if all(ipaddress.ip_address(address).is_loopback for address in found) or all(map(is_allowed, found)):
        pytest.skip("the name of this machine is that of a public address or of loopback")
    with pytest.raises(ImportJobError) as caught:
        resolve(name, 80, Plan())
    assert caught.value.code == 1101


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "/etc/passwd",
                                 "http:///etc/passwd", "jar:http://127.0.0.1!/x", "dict://127.0.0.1:11211/stat",
                                 "/vsicurl/http://127.0.0.1/x", "http://127.0.0.1\\@10.0.0.1/x"])  # fmt: skip
def test_other_schemes_are_no_urls(api_calls, url):
    failed = api_calls.imported(json={"url": url})
    assert failed["state"] in ("failure", "refused")
    assert {row["t"] for row in api_calls.run("SELECT CDB_UserTables() AS t")} == {"bystander", 'By"stander; --'}
