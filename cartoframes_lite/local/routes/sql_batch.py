"""``/sql/job``: create, read and cancel batch jobs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.http.authentication import Authenticator, NotAuthenticatedError
from cartoframes_lite.local.http.request_bodies import body_parameters
from cartoframes_lite.local.http.responses import RequestError, error_response, json_response
from cartoframes_lite.local.sql.batch_jobs import BatchJobs
from cartoframes_lite.local.sql.batch_request import check_size, read_job

_PATH = "/api/{version:str}/sql/job"


def routes(authenticator: Authenticator, jobs: BatchJobs) -> list[Route]:
    """Return the routes of the Batch API."""

    async def create(request: Request) -> Response:
        try:
            body = await body_parameters(request)
            check_size(body)
            authenticated = authenticator.authenticate(request, "job_create", body=body, master=True)
        except NotAuthenticatedError as rejected:
            return error_response(rejected.reason, headers=rejected.headers)
        except RequestError as error:
            return error_response(error)
        try:
            job = jobs.add(read_job(authenticated))
        except RequestError as error:
            return error_response(error, headers=authenticated.headers)
        return json_response(job.as_json(jobs.user), status=201, headers=authenticated.headers)

    async def one(request: Request) -> Response:
        kind = "job_delete" if request.method == "DELETE" else "job_get"
        try:
            authenticated = authenticator.authenticate(request, kind, master=True)
        except NotAuthenticatedError as rejected:
            return error_response(rejected.reason, headers=rejected.headers)
        try:
            job = jobs.find(request.path_params["job_id"])
            if request.method == "DELETE":
                jobs.cancel(job)
        except RequestError as error:
            return error_response(error, headers=authenticated.headers)
        return json_response(job.as_json(jobs.user), headers=authenticated.headers)

    return [
        Route(_PATH, create, methods=["POST"]),
        Route(f"{_PATH}/{{job_id:str}}", one, methods=["GET", "DELETE"]),
    ]
