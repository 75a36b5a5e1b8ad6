"""What can go wrong in starting the embedded server."""


class LocalServerError(RuntimeError):
    """The embedded server cannot run; the message says what is missing and how to get it."""
