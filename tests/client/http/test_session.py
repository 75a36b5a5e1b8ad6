"""Connections are kept between calls and shared by clients, but nothing of one account reaches another."""

from __future__ import annotations

import gc
import os
import random
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import FrameType

import pytest

import cartoframes_lite as cfl
from cartoframes_lite._client.http import connection as connection_module
from cartoframes_lite._client.http import idle_connections, tls_contexts
from cartoframes_lite._client.http.idle_connections import close_idle
from cartoframes_lite._client.http.session import new_session
from cartoframes_lite._client.http.streams import close, interrupt_read
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.local import LocalCarto
from tests.certificates import OPENSSL, self_signed, server_context
from tests.delay_proxy import DelayProxy
from tests.http_servers import ANYWHERE, KEY, FileServer, ScriptedServer, response

ROWS = b'{"rows": []}'


@pytest.fixture
def server(file_server: FileServer) -> FileServer:
    """Start a server that responds to everything with no rows."""
    file_server.put(ANYWHERE, ROWS)
    return file_server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create the certificate of TLS servers."""
    if OPENSSL is None:
        pytest.skip("there is no openssl to make a certificate with")
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[FileServer]:
    """Start a server with this certificate."""
    with FileServer(tls=server_context(certificate)) as started:
        started.put(ANYWHERE, ROWS)
        yield started


def ask(base_url: str, key: str = KEY, *, idempotent: bool = False, **options: object) -> None:
    """Send one request with a new transport."""
    Transport(Credentials("ann", key, base_url=base_url, **options)).json("POST", "x", idempotent=idempotent)


def test_calls_use_the_connection_of_the_call_before(carto: LocalCarto) -> None:
    with DelayProxy(str(carto.credentials.base_url), 0.02) as proxy:
        account = cfl.Credentials(api_key=carto.credentials.api_key, base_url=proxy.base_url)
        for opened in (1, 0, 0):
            assert not cfl.has_table("nothing", account)
            assert (proxy.connections, proxy.round_trips) == (opened, 1 + opened)
            proxy.reset()


def test_calls_over_tls_share_a_connection(tls_server: FileServer, certificate: Path) -> None:
    for _ in range(3):
        ask(tls_server.base_url, verify=str(certificate))
    assert len(tls_server.connections) == 1


def test_threads_take_over_the_connections_of_others(server: FileServer) -> None:
    for _ in range(3):
        thread = threading.Thread(target=ask, args=(server.base_url,))
        thread.start()
        thread.join()
    ask(server.base_url)
    assert len(server.connections) == 1


def test_threads_at_the_same_time_have_separate_connections(server: FileServer) -> None:
    everyone = threading.Barrier(8)
    respond = server.responses[ANYWHERE]

    def wait_for_all(request: object) -> None:
        everyone.wait(10)
        respond(request)

    server.responses[ANYWHERE] = wait_for_all
    with ThreadPoolExecutor(8) as threads:
        for _ in range(3):
            list(threads.map(lambda _: ask(server.base_url), range(8)))
    assert len(server.connections) == 8


def test_no_body_keeps_the_connection_open(server: FileServer) -> None:
    server.put("/user/ann/gone", b"", status=204)
    transport = Transport(Credentials("ann", KEY, base_url=server.base_url))
    for _ in range(3):
        transport.request("DELETE", "gone", idempotent=True, expect=(204,))
    assert len(server.connections) == 1


def test_errors_keep_the_connection_open(server: FileServer) -> None:
    server.put(ANYWHERE, b'{"error": ["no"]}', status=400)
    for _ in range(3):
        with pytest.raises(cfl.SQLError):
            ask(server.base_url)
    assert len(server.connections) == 1


def test_neither_keys_nor_cookies_pass_to_other_accounts(server: FileServer) -> None:
    server.put(ANYWHERE, ROWS, Set_Cookie="session=of-the-first; Path=/")
    ask(server.base_url, "first")
    ask(server.base_url, "second")
    ask(server.base_url, "default_public")
    assert len(server.connections) == 1
    sent = [headers for _, headers in server.requests]
    assert [headers.get("cookie") for headers in sent] == [None] * 3
    assert sent[0]["authorization"] != sent[1]["authorization"]
    assert "authorization" not in sent[2]


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_unverified_connections_are_not_used_for_verified_requests(tls_server: FileServer, certificate: Path) -> None:
    with pytest.warns(cfl.InsecureConnectionWarning):
        ask(tls_server.base_url, verify=False)
    with pytest.raises(cfl.ConnectionFailed, match="could not be verified"):
        ask(tls_server.base_url)
    ask(tls_server.base_url, verify=str(certificate))
    assert len(tls_server.requests) == 2


def test_a_ca_bundle_of_the_environment_counts_only_while_set(
    tls_server: FileServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session of a remote account; those of loopback ignore the environment."""

    def status() -> int:
        return session.get(tls_server.url).status_code

    with new_session() as session:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert (status(), status(), len(tls_server.connections)) == (200, 200, 1)
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            status()


def test_a_proxy_of_the_environment_is_read_for_each_call(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with FileServer() as second:
        second.put(ANYWHERE, ROWS)
        for proxy in (server, second, server):
            monkeypatch.setenv("http_proxy", proxy.url)
            ask("http://carto.invalid/user/ann", allow_non_secure=True)
        assert (len(server.requests), len(second.requests)) == (2, 1)
        assert (len(server.connections), len(second.connections)) == (1, 1)


def test_a_replaced_ca_bundle_is_loaded_again(certificate: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(certificate.read_bytes())
    first = tls_contexts.tls_context(ssl.CERT_REQUIRED, str(bundle), None)
    assert tls_contexts.tls_context(ssl.CERT_REQUIRED, str(bundle), None) is first
    bundle.write_bytes(certificate.read_bytes() * 2)
    assert tls_contexts.tls_context(ssl.CERT_REQUIRED, str(bundle), None) is not first


def test_connections_share_the_loaded_certificates(
    tls_server: FileServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = []
    create = tls_contexts.create_urllib3_context
    monkeypatch.setattr(
        tls_contexts, "create_urllib3_context", lambda **options: created.append(options) or create(**options)
    )
    tls_contexts._context.cache_clear()
    for _ in range(3):
        ask(tls_server.base_url, verify=str(certificate))
        close_idle()
    assert (len(tls_server.connections), len(created)) == (3, 1)


def test_few_connections_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_connections, "_MAX_IDLE", 2)
    close_idle()
    servers = [FileServer() for _ in range(4)]
    try:
        for number in (0, 1, 2, 3, 3, 2, 0):
            servers[number].put(ANYWHERE, ROWS)
            ask(servers[number].base_url)
            assert len(idle_connections._idle) <= 2
        assert [len(server.connections) for server in servers] == [2, 1, 1, 1]
    finally:
        for server in servers:
            server.close()


def test_connections_to_stopped_servers_are_closed(server: FileServer) -> None:
    close_idle()
    for _ in range(5):
        with FileServer(idle_s=0.01) as stopped:
            stopped.put(ANYWHERE, ROWS)
            ask(stopped.base_url)
            wait_until_dropped()
    assert len(idle_connections._idle) == 1
    ask(server.base_url)
    assert [kept.port for kept in idle_connections._idle] == [server.server_port]


def test_no_other_thread_has_an_idle_connection_that_is_examined(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine = connection_module.Connection.is_reusable.fget
    examined = []

    def watched(connection: connection_module.Connection) -> bool:
        examined.append(connection in idle_connections._idle)
        return examine(connection)

    monkeypatch.setattr(connection_module.Connection, "is_reusable", property(watched))
    close_idle()
    ask(server.base_url)
    with FileServer() as second:
        second.put(ANYWHERE, ROWS)
        ask(second.base_url)
    assert examined
    assert not any(examined)
    ports = [connection.port for connection in idle_connections._idle]
    assert ports == [server.server_port, second.server_port]


def wait_until_dropped() -> None:
    """Wait until the server has closed the connection that was used last."""
    give_up = time.monotonic() + 10
    while idle_connections._idle[-1].is_reusable:
        assert time.monotonic() < give_up
        time.sleep(0.005)


def test_writes_succeed_after_the_server_restarts(server: FileServer) -> None:
    first = FileServer(idle_s=0.01)
    first.put(ANYWHERE, ROWS)
    port, base_url = first.server_port, first.base_url
    ask(base_url)
    wait_until_dropped()
    first.close()
    with FileServer(port=port) as second:
        second.put(ANYWHERE, ROWS)
        ask(base_url)
        assert len(second.requests) == 1


@pytest.mark.parametrize("keep_alive", ["", "timeout=20"])
@pytest.mark.parametrize("clock", ["monotonic", "time"])
def test_no_request_uses_a_connection_that_was_idle_for_long(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, clock: str, keep_alive: str
) -> None:
    """Also if only one of the clocks has noticed, as while a computer sleeps."""
    server.put(ANYWHERE, ROWS, Keep_Alive=keep_alive)
    real, ahead_s = getattr(time, clock), 0.0
    monkeypatch.setattr(connection_module.time, clock, lambda: real() + ahead_s)
    limit_s = 20 if keep_alive else 60
    for pause_s, opened in ((0, 1), (limit_s / 2, 1), (limit_s, 2)):
        ahead_s += pause_s
        ask(server.base_url, idempotent=True)
        assert len(server.connections) == opened


def test_a_response_left_half_way_closes_its_connection(server: FileServer) -> None:
    server.put("/user/ann/long", b"x" * 10_000_000)
    transport = Transport(Credentials("ann", KEY, base_url=server.base_url))
    with transport.stream("POST", "long") as blocks:
        next(blocks)
    ask(server.base_url)
    assert len(server.connections) == 2


class Alarm(BaseException):
    """An interrupt, like Ctrl-C."""


# Between the making of a socket and its entry in the connection an interrupt leaves it to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers that interrupt")
def test_interrupts_never_mix_up_responses(server: FileServer) -> None:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Alarm

    def echo(request: BaseHTTPRequestHandler) -> None:
        body = f'{{"path": "{request.path}"}}'.encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    server.responses[ANYWHERE] = echo
    transport, chance = Transport(Credentials("ann", KEY, base_url=server.base_url)), random.Random(5)
    interrupted, before = 0, signal.signal(signal.SIGALRM, ring)
    try:
        for number in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.004))
                answer = transport.json("POST", f"p{number}", idempotent=False)
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert answer == {"path": f"/user/ann/p{number}"}
            except Alarm:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted
    gc.collect()
    assert transport.json("POST", "last", idempotent=False) == {"path": "/user/ann/last"}


def test_a_late_interrupt_leaves_the_next_request_alone(server: FileServer) -> None:
    """What a thread does to a response that another thread has read meanwhile."""
    server.put("/user/ann/rows", ROWS)
    session = new_session()
    response = session.get(f"{server.base_url}/rows", stream=True)
    before = response.raw.connection
    assert response.content == ROWS
    response.raw._connection = before  # as between the steps of urllib3's release_conn
    interrupt_read(response)
    close(response)
    assert session.get(f"{server.base_url}/rows").content == ROWS
    assert len(server.connections) == 1
    session.close()


_FORK = """
import os, sys, threading
from cartoframes_lite._client.http import idle_connections
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.credentials import Credentials

def ask():
    Transport(Credentials("ann", "key", base_url=sys.argv[1])).json("POST", "x", idempotent=False)

ask()
child = os.fork()
if child == 0:
    held = len(idle_connections._idle)
    ask(); ask()
    os._exit(held)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
ask()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_parent_and_child_of_a_fork_have_separate_connections(server: FileServer) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", _FORK, server.base_url], check=True, timeout=60)
    assert (len(server.requests), len(server.connections)) == (4, 2)


_FORK_WITHIN_A_READ = """
import os, sys
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import ConnectionFailed

transport = Transport(Credentials("ann", "key", base_url=sys.argv[1], verify=sys.argv[2]))
with transport.stream("POST", "long") as blocks:
    size, child = len(next(blocks)), os.fork()
    if child == 0:
        try:
            size = sum(map(len, blocks))
        except ConnectionFailed:
            os._exit(7)
        os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert size + sum(map(len, blocks)) == 10_000_000
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_a_child_cannot_read_the_response_to_its_parent(
    server: FileServer, tls_server: FileServer, certificate: Path, encrypted: bool
) -> None:
    asked = tls_server if encrypted else server
    asked.put("/user/ann/long", b"x" * 10_000_000)
    command = [sys.executable, "-W", "error", "-c", _FORK_WITHIN_A_READ, asked.base_url, str(certificate)]
    subprocess.run(command, check=True, timeout=60)


_FORK_WITHIN_A_WRITE = """
import os, sys
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.credentials import Credentials

def body():
    yield b"first"
    child = os.fork()
    if child == 0:
        raise RuntimeError("of the child")
    os.waitpid(child, 0)
    yield b"second"

transport = Transport(Credentials("ann", "key", base_url=sys.argv[1]))
transport.upload("x", query={}, body=body, abort=b"abort")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_failing_child_does_not_abort_the_upload(scripted_server: ScriptedServer) -> None:
    scripted_server.play(response("200 OK", b"{}"))
    command = [sys.executable, "-c", _FORK_WITHIN_A_WRITE, scripted_server.base_url]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=60)
    scripted_server.close()
    (sent,) = scripted_server.heads
    assert sent.endswith(b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n")


_EXIT = """
import sys
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.credentials import Credentials
account = Credentials("ann", "key", base_url=sys.argv[1], verify=sys.argv[2])
transport = Transport(account)
transport.json("POST", "x", idempotent=False)
left = transport.stream("POST", "long")
next(left.__enter__())
transport.json("POST", "x", idempotent=False)
"""


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_open_connections_at_exit_give_no_warning(
    server: FileServer, tls_server: FileServer, certificate: Path, encrypted: bool
) -> None:
    asked = tls_server if encrypted else server
    asked.put("/user/ann/long", b"x" * 10_000_000)
    command = [sys.executable, "-W", "error", "-c", _EXIT, asked.base_url, str(certificate)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
