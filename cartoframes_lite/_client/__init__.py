"""Client of the CARTO APIs, one module per service. Does not depend on pandas."""

from __future__ import annotations

from cartoframes_lite._client.api_keys import APIKeys
from cartoframes_lite._client.exports import Exports
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.imports import Imports
from cartoframes_lite._client.maps import Maps
from cartoframes_lite._client.publications import Publications
from cartoframes_lite._client.sql import SQL
from cartoframes_lite._client.sql_batch import Batch
from cartoframes_lite._client.sql_copy import Copy
from cartoframes_lite._client.syncs import Syncs
from cartoframes_lite._client.users import Users
from cartoframes_lite._client.visualizations import Visualizations
from cartoframes_lite.credentials import Credentials, resolve


class Client:
    """Low-level access to the services of an account.

    Parameters
    ----------
    credentials : Credentials, optional
        None: looked up in this order: ``set_default_credentials``, environment variables, credentials file.
    progress : bool, optional
        Whether to report that a request waits for a rate limit. None: for waits of two seconds or more; True: always;
        False: never.

    Attributes
    ----------
    credentials : Credentials
    sql : SQL
        SQL API, for queries with small results.
    copy : Copy
        COPY endpoints of the SQL API, to stream rows.
    batch : Batch
        Batch API, for queries that may run for hours.
    imports : Imports
        Import API: create tables from files, URLs and other databases.
    syncs : Syncs
        Synchronizations: periodic imports.
    visualizations : Visualizations
        Catalog of datasets and maps: privacy, descriptions, sharing.
    exports : Exports
        Exports of datasets and maps to .carto files.
    maps : Maps
        Maps API: anonymous and named maps.
    publications : Publications
        Published HTML pages.
    users : Users
        The account, its quotas, and the users of its organization.
    api_keys : APIKeys
        API keys with restricted permissions.

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
        self.publications = Publications(transport)
        self.users = Users(transport)
        self.api_keys = APIKeys(transport, self.sql)

    def __repr__(self) -> str:
        return f"Client({self.credentials!r})"
