"""Say once of each API that CARTO does not document it."""

from __future__ import annotations

import warnings

from cartoframes_lite.errors import NonPublicAPIWarning

_said: set[str] = set()


def warn(api: str) -> None:
    """Warn, unless it was said before in this process.

    Parameters
    ----------
    api : str
        Path below the account, as ``"api/v1/viz"``.
    """
    if api in _said:
        return
    _said.add(api)
    message = (
        f"{api} is not a documented API of CARTO and may change without notice; to silence this: "
        "warnings.simplefilter('ignore', cartoframes_lite.NonPublicAPIWarning)"
    )
    warnings.warn(message, NonPublicAPIWarning, stacklevel=2)
