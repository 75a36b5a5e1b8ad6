"""``/kuviz/{id}`` and ``/app/{id}``: show published pages, protected ones after their password was entered."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.published_pages import PublishedPage, PublishedPages
from cartoframes_lite.local.http.authentication import query_parameters
from cartoframes_lite.local.http.request_bodies import Parameters, body_parameters, replace_surrogates
from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.serializers import base_url
from cartoframes_lite.local.state import State

# Scripts of published pages must not read the API key that the home page of the same origin keeps.
_SANDBOX = (
    "sandbox allow-scripts allow-forms allow-popups allow-popups-to-escape-sandbox allow-downloads allow-modals"
    " allow-pointer-lock"
)
_NOT_FOUND = "<!DOCTYPE html>\n<html lang='en'>\n<title>Not found</title>\n<p>Not found</p>\n</html>\n"
_FORM = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1.0">
<meta name="color-scheme" content="light dark">
<title>Protected visualization</title>
<style>
body {{ min-height: 100vh; margin: 0; display: grid; place-content: center; font: 16px/1.5 system-ui, sans-serif; }}
form {{ display: grid; gap: 10px; width: min(320px, 90vw); }}
input, button {{ font: inherit; padding: 8px 12px; border: 1px solid #8886; border-radius: 8px; }}
button {{ background: #2359c8; color: #fff; cursor: pointer; }}
</style>
</head>
<body>
<form action="{action}" method="post">
<label for="password">This visualization is protected with password</label>
<input id="password" type="password" name="password" autocomplete="off" placeholder="Insert your password" autofocus>
<span role="alert">{error}</span>
<button>Open</button>
</form>
</body>
</html>
"""


def routes(state: State) -> list[Route]:
    """Return the routes, below the user's path."""
    return [*_routes(state, "kuviz"), *_routes(state, "app")]


def _routes(state: State, page_type: str) -> list[Route]:
    """Return the routes of a type of pages."""
    pages = PublishedPages(state, page_type)

    def find(request: Request) -> PublishedPage:
        page = pages.find(str(request.path_params["id"]))
        if page.privacy == "private":
            raise LookupError(page.id)
        return page

    def content(page: PublishedPage) -> Response:
        digest = base64.b64encode(hashlib.sha256(page.id.encode()).digest())[:6].decode()
        headers = {
            "Cache-Control": "no-cache,max-age=86400,must-revalidate,public",
            "X-Cache-Channel": f"{state.database}:,{page.id}:vizjson",
            "Surrogate-Key": f"rp rv:{digest}",
            "Content-Security-Policy": _SANDBOX,
        }
        return HTMLResponse(pages.html(page), headers=headers)

    def form(request: Request, page: PublishedPage, error: str = "") -> Response:
        action = f"{base_url(state, request)}/{page_type}/{page.id}/protected"
        return HTMLResponse(_FORM.format(action=html.escape(action), error=error))

    def show(request: Request) -> Response:
        page = find(request)
        return form(request, page) if page.privacy == "password" else content(page)

    def enter(request: Request, body: Parameters) -> Response:
        page = find(request)
        if page.privacy != "password":
            raise LookupError(page.id)
        password = str(replace_surrogates({**query_parameters(request), **body}).get("password", ""))
        return content(page) if pages.check_password(page, password) else form(request, page, "Invalid password")

    async def protected(request: Request) -> Response:
        if request.method != "POST":
            return await _respond(lambda: show(request))
        try:
            body = await body_parameters(request)
        except RequestError as error:
            return HTMLResponse(html.escape(error.message), error.status)
        return await _respond(lambda: enter(request, body))

    async def page(request: Request) -> Response:
        return await _respond(lambda: show(request))

    endpoints: list[tuple[str, Callable[[Request], Awaitable[Response]], list[str]]] = [
        ("", page, ["GET"]),
        ("/protected", protected, ["GET", "POST"]),
    ]
    return [
        Route(f"/{page_type}/{{id:uuid}}{path}{end}", endpoint, methods=methods)
        for path, endpoint, methods in endpoints
        for end in ("", "/")
    ]


async def _respond(handler: Callable[[], Response]) -> Response:
    """Run a handler in a worker thread; return a 404 if it raises LookupError."""
    try:
        return await run_in_threadpool(handler)
    except LookupError:
        return HTMLResponse(_NOT_FOUND, 404)
