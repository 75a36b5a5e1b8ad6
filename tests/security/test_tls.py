"""The certificate of a server is verified; disabling this gives a warning."""

from __future__ import annotations

import json
import pickle
import warnings

import pytest
import requests
import urllib3

import cartoframes_lite as cfl

KEY = "s3cr3t"


def ask(base_url: str, **options: object) -> None:
    cfl.Client(cfl.Credentials(api_key=KEY, base_url=base_url, **options)).sql.send("SELECT 1")


def unverified() -> requests.Session:
    session = requests.Session()
    session.verify = False
    return session


@pytest.mark.parametrize("session", [None, unverified])
@pytest.mark.parametrize("variable", [None, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("value", ["", "0", "false"])
def test_a_certificate_that_nobody_trusts_is_refused(recording_server, tls, monkeypatch, session, variable, value):
    server = recording_server(tls=tls)
    if variable:
        monkeypatch.setenv(variable, value)
    with pytest.raises((cfl.ConnectionFailed, cfl.CredentialsError)):
        ask(server.base_url, session=session and session())
    assert server.requests == []


def test_certificate_errors_say_what_to_do(recording_server, tls):
    with pytest.raises(cfl.ConnectionFailed, match="pass verify='path of the CA bundle'"):
        ask(recording_server(tls=tls).base_url)


@pytest.mark.parametrize("session", [None, unverified])
def test_certificates_are_accepted_with_their_authority(recording_server, tls, certificate, session):
    server = recording_server(tls=tls)
    ask(server.base_url, verify=str(certificate), session=session and session())
    assert len(server.requests) == 1


def test_certificates_of_other_hosts_are_refused(recording_server, tls, certificate):
    server = recording_server("127.0.0.2", tls)
    with pytest.raises(cfl.ConnectionFailed, match="could not be verified"):
        ask(server.base_url, verify=str(certificate))
    assert server.requests == []


def test_the_ca_bundle_of_the_environment_is_used(recording_server, tls, certificate, monkeypatch):
    server = recording_server("localhost", tls)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    ask(server.base_url, session=requests.Session())  # of our own sessions none looks there for this host
    assert len(server.requests) == 1


def test_verify_false_warns_once(recording_server, tls):
    server = recording_server(tls=tls)
    with pytest.warns(cfl.InsecureConnectionWarning, match="is not verified") as warned:
        account = cfl.Credentials(api_key=KEY, base_url=server.base_url, verify=False)
    assert [warning.filename for warning in warned] == [__file__]
    client = cfl.Client(account)
    with warnings.catch_warnings(record=True) as later:
        warnings.simplefilter("always")
        client.sql.send("SELECT 1")
        client.sql.send("SELECT 1")
    assert len(server.requests) == 2
    assert all(issubclass(warning.category, urllib3.exceptions.InsecureRequestWarning) for warning in later)
    assert KEY not in str([warning.message for warning in [*warned, *later]])


def test_every_source_of_verify_false_warns(tmp_path):
    with pytest.warns(cfl.InsecureConnectionWarning):
        account = cfl.Credentials("ann", KEY, verify=False)
    path = account.save(tmp_path / "creds.json")
    with pytest.warns(cfl.InsecureConnectionWarning):
        cfl.Credentials.from_file(path)
    with pytest.warns(cfl.InsecureConnectionWarning):
        pickle.loads(pickle.dumps(account))


@pytest.mark.parametrize("verify", ["", 0, 1, None, (), 0.0])
def test_values_like_false_do_not_disable_verification(tmp_path, verify):
    with pytest.raises(cfl.CredentialsError, match="verify must be"):
        cfl.Credentials("ann", KEY, verify=verify)
    path = tmp_path / "creds.json"
    path.write_text(json.dumps({"username": "ann", "api_key": KEY, "verify": verify}))
    with pytest.raises(cfl.CredentialsError, match="verify must be"):
        cfl.Credentials.from_file(path)


def test_plain_http_does_not_warn_about_certificates():
    cfl.Credentials(api_key=KEY, base_url="http://localhost/user/ann", verify=False)


@pytest.mark.parametrize(
    "url", ["http://ann.carto.com", "http://localhost.carto.com/user/ann", "http://127.0.0.2/user/ann"]
)
def test_the_key_is_not_sent_over_plain_http(url):
    with pytest.raises(ValueError, match="clear text"):
        cfl.Credentials(api_key=KEY, base_url=url)
