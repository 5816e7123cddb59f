"""The app: routes, refusals and meters, put together."""

from fastapi import Depends, FastAPI
from fastapi.responses import Response

from easel.api import openapi
from easel.api.given import House, caller
from easel.api.metering import Metered, Meters
from easel.api.rates import Rates
from easel.api.refusals import HANDLERS, Error
from easel.api.routes import PRIVATE, PUBLIC, Route
from easel.settings import Settings
from easel.store.blobs import Blobs
from easel.store.database import Database


def create_app(settings: Settings, database: Database, blobs: Blobs) -> FastAPI:
    """The HTTP API on this database and these blobs."""
    app = FastAPI(
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, exception_handlers=HANDLERS
    )
    app.state.house = House(settings, database, blobs, Rates(settings.requests_per_minute))
    app.state.meters = Meters()
    app.add_middleware(Metered, app.state.meters)
    for route in PRIVATE:
        _add(app, route, private=True)
    for route in PUBLIC:
        _add(app, route, private=False)
    app.state.document = openapi.document(app)
    return app


def _add(app: FastAPI, route: Route, *, private: bool) -> None:
    refusals: list[int | str] = [*route.refusals, "default"]
    app.add_api_route(
        route.path,
        route.handler,
        methods=[route.method],
        **(
            {"response_model": route.answer}
            if route.answer
            else {"response_model": None, "response_class": Response}
        ),
        responses={status: {"model": Error} for status in ([401, 429, 503] if private else []) + refusals},
        dependencies=[Depends(caller)] if private else [],
        tags=[route.tag],
        summary=(route.handler.__doc__ or "").rstrip("."),
        openapi_extra={**(route.more or {}), **({} if private else {"security": []})},
    )
