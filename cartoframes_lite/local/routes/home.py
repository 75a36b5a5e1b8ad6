"""``/`` and the pages of datasets and maps: HTML that shows the account through its APIs."""

from __future__ import annotations

import gzip
import html
import lzma
from base64 import b64encode
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from string import Template

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from cartoframes_lite.local.http.authentication import Authenticator, NotAuthenticatedError
from cartoframes_lite.local.http.platform import ORIGINAL_PATH_KEY
from cartoframes_lite.local.http.responses import error_response, json_response
from cartoframes_lite.local.sql.batch_jobs import BatchJobs
from cartoframes_lite.local.state import State

# The paths that CARTO's APIs return as the pages of datasets and maps, and those of CARTO's dashboard.
_PATHS = (
    *("/", "/dashboard", "/dashboard/{section}"),
    *("/tables/{name:path}", "/dataset/{name:path}"),  # names may contain slashes, which are not encoded here
    *("/viz/{id}", "/viz/{id}/{view}", "/builder/{id}", "/named/{name:path}"),
)
_FOLDER = Path(__file__).parents[1] / "home"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json"}
_BASEMAP = Path(__file__).parents[2] / "maps" / "basemap"  # the data and the script of the maps in notebooks
_LEAFLET = "xstatic/pkg/leaflet/data"
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}


def routes(state: State, authenticator: Authenticator, jobs: BatchJobs) -> list[Route]:
    """Return the routes of the pages, of their scripts and styles, and of the list of batch jobs.

    The list is needed because CARTO's Batch API has none; it requires the master key.
    """
    template = Template((_FOLDER / "page.html").read_text(encoding="utf-8"))

    async def page(request: Request) -> Response:
        # Relative, so that the page also works below a path of a proxy.
        original: bytes = request.scope[ORIGINAL_PATH_KEY]
        root = "../" * (original.count(b"/") - 1) or "./"
        account = html.escape(f"{root}user/{state.user}")
        content = template.substitute(user=html.escape(state.user), account=account, assets=f"{account}/assets")
        return HTMLResponse(content, headers=_HEADERS)

    async def asset(request: Request) -> Response:
        path = _assets().get(request.path_params["name"])
        if path is None:
            return Response(status_code=404)
        return FileResponse(path, media_type=_TYPES[path.suffix], headers=_HEADERS)

    async def basemap(request: Request) -> Response:
        headers = {**_HEADERS, "Cache-Control": "max-age=86400"}
        return Response(await run_in_threadpool(_basemap), media_type="text/plain", headers=headers)

    async def list_jobs(request: Request) -> Response:
        try:
            authenticated = authenticator.authenticate(request, "job_get", master=True)
        except NotAuthenticatedError as rejected:
            return error_response(rejected.reason, headers=rejected.headers)
        listed = [job.as_json(jobs.user) for job in jobs.recent()]
        return json_response({"jobs": listed}, headers=authenticated.headers)

    return [
        *(Route(path, page) for path in _PATHS),
        Route("/assets/natural_earth.base64", basemap),
        Route("/assets/{name}", asset),
        Route("/home/jobs", list_jobs),
    ]


@cache
def _assets() -> dict[str, Path]:
    """Return the files that pages load, by name."""
    leaflet = distribution("XStatic-Leaflet")
    found = [Path(str(leaflet.locate_file(f"{_LEAFLET}/{name}"))) for name in ("leaflet.js", "leaflet.css")]
    found += [_BASEMAP / "basemap.js", _BASEMAP / "style.json"]
    return {path.name: path for path in [*_FOLDER.iterdir(), *found] if path.suffix in _TYPES}


@cache
def _basemap() -> bytes:
    """Return the data of the basemap as its script reads them: compressed with gzip, in base64."""
    return b64encode(gzip.compress(lzma.decompress((_BASEMAP / "natural_earth.xz").read_bytes()), mtime=0))
