"""How every refusal is told: `{error, message, details}`, with the field, the value and the remedy."""

import reprlib
from collections.abc import Sequence
from typing import Any

import asyncpg
import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from obstore.exceptions import BaseError as BlobsError
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from easel.errors import BadRequest, HTTPError, TooManyRequests, Unauthorized, Unavailable, Unprocessable

MOST_TOLD = 10  # things that are wrong with one request
AWAY = {"08", "53", "57"}  # PostgreSQL's classes: no connection, no resources, stopped or starting


log = structlog.get_logger()


class Detail(BaseModel):
    """What is wrong with one field."""

    path: list[str | int]
    message: str


class Error(BaseModel):
    """Why a request was refused; `error` and `message` are the same text."""

    error: str
    message: str
    details: list[Detail] | None = None


def refused(kind: type[HTTPError], text: str, *path: str | int) -> HTTPError:
    """An error about the one field at `path`."""
    return kind(text, [{"path": list(path), "message": text}])


def invalid(errors: Sequence[Any]) -> HTTPError:
    """The error that tells what pydantic found: 400, or 422 when only items of fields are wrong."""
    details = [{"path": list(error["loc"]), "message": _text(error)} for error in errors[:MOST_TOLD]]
    text = "; ".join(str(detail["message"]) for detail in details)
    unprocessable = all(len(error["loc"]) > 1 for error in errors)
    return (Unprocessable if unprocessable else BadRequest)(text, details)


def _text(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"]) or "The body"
    value = reprlib.repr(error["input"])
    match error["type"]:
        case "missing":
            return f"{name} is missing: add it"
        case "extra_forbidden":
            return f"{name} is no field of this request (got {value}): leave it out"
        case "json_invalid":
            return f"The body cannot be read as JSON ({error['ctx']['error']}): send a JSON object"
    return f"{name}: {error['msg'].removeprefix('Value error, ')} (got {value})"


def rate_limit(maximum: int, remaining: int, reset: int) -> dict[str, str]:
    """The headers that tell a client how much it may still ask for; `reset` is in seconds."""
    numbers = {"Limit": maximum, "Remaining": remaining, "Reset": reset}
    return {f"RateLimit-{name}": str(number) for name, number in numbers.items()}


async def tell_error(request: Request, error: Exception) -> JSONResponse:
    """Answer one of our own errors."""
    assert isinstance(error, HTTPError)
    body: dict[str, Any] = {"error": error.message, "message": error.message}
    headers: dict[str, str] = {}
    if isinstance(error, BadRequest | Unprocessable):
        body["details"] = error.details or [{"path": [], "message": error.message}]
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyRequests):
        headers |= {"Retry-After": str(error.wait), **rate_limit(error.maximum, 0, error.wait)}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = "1"
    return JSONResponse(body, error.status, headers)


async def tell_invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer parameters that are not valid: they are named without the place they came from."""
    assert isinstance(error, RequestValidationError)
    found = [{**one, "loc": one["loc"][1:]} for one in error.errors()]
    return await tell_error(request, invalid(found))


async def tell_unrouted(request: Request, error: Exception) -> JSONResponse:
    """Answer what the router refuses: unknown routes and wrong methods."""
    assert isinstance(error, HTTPException)
    asked = f"{request.method} {request.url.path[:200]}"
    text = f"{asked}: {error.detail}; GET /openapi.json lists what there is"
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else None
    return JSONResponse({"error": text, "message": text}, error.status_code, headers)


def _allowed(request: Request) -> str:
    """The methods of all routes at the request's path, of which the router names only the first; a path that
    is written out in a route is no id."""
    path = request.scope["path"]
    routes = [route for route in request.app.routes if route.path == path]
    routes = routes or [route for route in request.app.routes if route.path_regex.match(path)]
    return ", ".join(sorted({method for route in routes for method in route.methods}))


async def tell_away(request: Request, error: Exception) -> JSONResponse:
    """Answer while the database or the storage is away."""
    if isinstance(error, DBAPIError) and not _is_away(error):
        raise error
    log.warning("The database or the storage is away", error=str(error), path=request.url.path)
    return await tell_error(request, Unavailable("The database or the storage is away: try again shortly"))


def _is_away(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None) or ""
    return error.connection_invalidated or state[:2] in AWAY


async def tell_gone(request: Request, error: Exception) -> JSONResponse:
    """Answer, for the log only, a client that left while it was sending."""
    return await tell_error(request, BadRequest("The client left before the body was complete"))


async def tell_fault(request: Request, error: Exception) -> JSONResponse:
    """Answer a fault of ours; the server logs its story."""
    text = "Something is wrong inside the server: its log says what"
    return JSONResponse({"error": text, "message": text}, 500)


HANDLERS: dict[Any, Any] = {
    HTTPError: tell_error,
    RequestValidationError: tell_invalid,
    HTTPException: tell_unrouted,
    DBAPIError: tell_away,
    PoolTimeout: tell_away,
    asyncpg.InterfaceError: tell_away,
    asyncpg.InternalClientError: tell_away,
    asyncpg.InsufficientResourcesError: tell_away,
    asyncpg.OperatorInterventionError: tell_away,
    asyncpg.PostgresConnectionError: tell_away,
    BlobsError: tell_away,
    OSError: tell_away,
    ClientDisconnect: tell_gone,
    Exception: tell_fault,
}
