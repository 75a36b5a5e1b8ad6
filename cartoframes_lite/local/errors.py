"""Errors raised when the embedded server is started."""


class LocalServerError(RuntimeError):
    """The embedded server cannot run. The message names the cause and how to fix it."""
