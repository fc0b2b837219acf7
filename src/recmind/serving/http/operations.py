"""Health, readiness, metrics, reload."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request
from starlette.responses import Response

from recmind.errors import RecMindError
from recmind.serving.http import answers, logs
from recmind.serving.http.access import admins, documented, readers
from recmind.serving.http.api import Json, service_of
from recmind.serving.http.metrics import CONTENT_TYPE, Metrics
from recmind.serving.http.problems import Problem
from recmind.serving.http.service import Service

router = APIRouter(responses=documented)


@router.get("/healthz", response_model=answers.HealthAnswer, summary="Whether the process lives")
async def healthz(request: Request) -> Response:
    """Always `ok` where there is an answer."""
    return Json({"status": "ok"})


@router.get("/readyz", response_model=answers.HealthAnswer, summary="Whether requests are taken")
async def readyz(request: Request) -> Response:
    """503 while the server starts or stops."""
    state = service_of(request).state
    if state != "ok":
        raise Problem("not-ready", f"The server is {state}.", headers={"Retry-After": "1"})
    return Json({"status": state})


@router.get("/metrics", dependencies=[readers], response_class=Response, summary="Metrics for Prometheus")
async def metrics(request: Request) -> Response:
    """The text format."""
    counted: Metrics = request.app.state.metrics
    return Response(counted.text(), media_type=CONTENT_TYPE)


@router.post(
    "/v1/reload", dependencies=[admins], response_model=answers.ReloadAnswer, summary="Serve the bundle as it is now"
)
async def reload(request: Request) -> Response:
    """Reads the bundle's folder again; until it is read, and where it is damaged, the old one goes on serving."""
    return Json(await reloaded(request.app.state.service, request.app.state.metrics))


async def reloaded(service: Service, metrics: Metrics) -> dict[str, object]:
    """Reload, count it and log it.

    Raises
    ------
    Problem
        Where the new bundle cannot be served, with its reason.
    """
    try:
        done = await service.reload()
    except RecMindError as error:
        metrics.reloads.labels("refused").inc()
        logs.event("reload refused", level=logging.ERROR, reason=str(error))
        raise Problem("cannot", f"The bundle on disk cannot be served: {error.what}") from error
    metrics.reloads.labels("done").inc()
    logs.event("reloaded", **done)
    return done
