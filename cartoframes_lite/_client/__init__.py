"""What the service understands, one module for each of its APIs; knows no frames."""

from __future__ import annotations

from cartoframes_lite._client.api_keys import APIKeys
from cartoframes_lite._client.exports import Exports
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.imports import Imports
from cartoframes_lite._client.maps import Maps
from cartoframes_lite._client.sql import SQL
from cartoframes_lite._client.sql_batch import Batch
from cartoframes_lite._client.sql_copy import Copy
from cartoframes_lite._client.syncs import Syncs
from cartoframes_lite._client.users import Users
from cartoframes_lite._client.visualizations import Visualizations
from cartoframes_lite.credentials import Credentials, resolve


class Client:
    """The services of an account.

    Parameters
    ----------
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file.
    progress : bool, optional
        Whether to show that a request waits for a rate limit: None if it is two seconds or more, False never, True
        always.

    Attributes
    ----------
    credentials : Credentials
    sql : SQL
        Queries with small answers.
    copy : Copy
        Streams of rows in and out.
    batch : Batch
        Queries that may take hours.
    imports : Imports
        Files, URLs and other databases into tables.
    syncs : Syncs
        Tables that the server fills again and again.
    visualizations : Visualizations
        Datasets and maps: privacy, descriptions, sharing.
    exports : Exports
        Datasets and maps into .carto files.
    maps : Maps
        Anonymous and named maps.
    users : Users
        The account, its quotas, and the users of its organization.
    api_keys : APIKeys
        Keys that may do less than the master key.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> client = cfl.Client()
    >>> client.sql.rows("SELECT count(*) AS stations FROM stations")
    [{'stations': 3}]
    >>> client.users.me().table_count
    1
    """

    def __init__(self, credentials: Credentials | None = None, *, progress: bool | None = None) -> None:
        self.credentials = resolve(credentials)
        transport = Transport(self.credentials, progress=progress)
        self.sql = SQL(transport)
        self.copy = Copy(transport)
        self.batch = Batch(transport)
        self.imports = Imports(transport)
        self.syncs = Syncs(transport)
        self.visualizations = Visualizations(transport)
        self.exports = Exports(transport)
        self.maps = Maps(transport)
        self.users = Users(transport)
        self.api_keys = APIKeys(transport, self.sql)

    def __repr__(self) -> str:
        return f"Client({self.credentials!r})"
