"""The embedded server in a process of its own, so that it does not share the interpreter lock of this one.

The process is a new Python interpreter and not a fork, which would copy the locks of this process. It runs in a session
of its own, so that Ctrl-C in a terminal and an interrupt of a Jupyter kernel do not stop it. It stops when the channel
or this process ends, in whatever way: see `process_main`.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
from typing import Any

from cartoframes_lite.local.channel import Caller
from cartoframes_lite.local.errors import LocalServerError
from cartoframes_lite.local.options import ServerOptions

_STOP_TIMEOUT_S = 30.0  # of a stop that takes long: running statements, a checkpoint of PostgreSQL
_END_TIMEOUT_S = 5.0  # between the end of the channel and the end of the process, if it was killed
_STDERR = 2
# Its arguments are not secret, `ps` shows them; those of the server go through the channel. What can be imported is the
# same as in this process, which may have a path of its own, and None in sys.modules. The package's own module is not
# executed: the server needs neither the client nor pandas.
_PROGRAM = """
import sys
_, descriptor, parent, blocked, *sys.path = sys.argv
sys.modules |= dict.fromkeys(blocked.split())
import importlib.util
sys.modules["cartoframes_lite"] = importlib.util.module_from_spec(importlib.util.find_spec("cartoframes_lite"))
from cartoframes_lite.local.process_main import main
main(int(descriptor), int(parent))
"""
_FLAGS = {"isolated": "-I", "ignore_environment": "-E", "no_user_site": "-s", "dont_write_bytecode": "-B"}


class ServerProcess:
    """A server in a process of its own.

    Parameters
    ----------
    options : ServerOptions

    Attributes
    ----------
    url : str
        Root URL, without a trailing slash.
    dsn : str
        libpq connection string of a superuser of the account's database.
    pid : int
        The process of the server.

    Raises
    ------
    ImportError
        If the extra ``local`` is not installed.
    LocalServerError
        If the database or the port cannot be used, or the process ended.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._starter = os.getpid()
        ours, theirs = socket.socketpair()
        self._caller = Caller(ours)
        try:
            with theirs:
                self._process = _start_interpreter(theirs)
        except OSError as error:
            self._caller.close()
            raise LocalServerError(
                f"cannot start {sys.executable}: {error.strerror}; use start(in_process=True)"
            ) from error
        except BaseException:
            self._caller.close()
            raise
        self.pid = self._process.pid
        atexit.register(self.stop)
        try:
            started = self._call("start", options.to_json())
        except BaseException:  # including KeyboardInterrupt: nothing must be left behind
            self._process.terminate()
            self.stop()
            raise
        self.url, self.dsn = str(started["url"]), str(started["dsn"])

    def master_key(self) -> str:
        """Return the master key as it is now."""
        return str(self._call("master_key"))

    def reset(self) -> None:
        """Empty the account."""
        self._call("reset")

    def advance_clock(self, seconds: float) -> None:
        """Move the clock forward; raise ValueError if seconds is negative."""
        self._call("advance_clock", seconds)

    def stop(self) -> None:
        """Stop the process and wait for its end; calling it again completes an interrupted stop."""
        if os.getpid() != self._starter:  # at the exit of a fork
            self._process.returncode = 0  # it is no child of the fork, which would warn that it still runs
            self._caller.close()
            return
        self._caller.end()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._caller.close()
        atexit.unregister(self.stop)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the server; LocalServerError if its process has ended."""
        try:
            return self._caller.call(name, *arguments)
        except EOFError:
            raise LocalServerError(f"the process of the embedded server ended{self._reason()}; start another") from None

    def _reason(self) -> str:
        """Describe how the process has ended."""
        try:
            status = self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return ""
        if status >= 0:
            return f" with exit status {status}, its messages are on standard error"
        try:
            return f" by {signal.Signals(-status).name}"
        except ValueError:  # a real-time signal has no name
            return f" by signal {-status}"


def _start_interpreter(channel: socket.socket) -> subprocess.Popen[bytes]:
    """Start Python with the program of the server, which uses the standard error of this process."""
    command = [sys.executable, "-P", *(flag for name, flag in _FLAGS.items() if getattr(sys.flags, name))]
    command += [f"-W{option}" for option in sys.warnoptions]
    command += ["-X", "utf8"] if sys.flags.utf8_mode else []
    blocked = [name for name, module in list(sys.modules.items()) if module is None]
    command += ["-c", _PROGRAM, str(channel.fileno()), str(os.getpid()), " ".join(blocked)]
    command += [entry for entry in sys.path if isinstance(entry, str)]
    try:
        os.fstat(_STDERR)
    except OSError:  # closed, as in a daemon
        output = subprocess.DEVNULL
    else:
        output = _STDERR
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=[channel.fileno()],
        start_new_session=True,
    )
