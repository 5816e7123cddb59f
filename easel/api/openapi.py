"""The OpenAPI document: what clients of the contract read at their start."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel

import easel
from easel.api.given import BaseURL
from easel.catalog import Model
from easel.licence import NOTICE
from easel.schema.generation import GenerationRequest

EXAMPLES: dict[str, Any] = {
    "text to image": {
        "value": {
            "prompt": "A cinematic product photo of a glass lamp on a marble table",
            "aspect_ratio": "4:5",
            "resolution": "1K",
            "creativity": "low",
        }
    },
    "style transfer": {
        "value": {
            "prompt": "A portrait of a dancer in a quiet studio",
            "aspect_ratio": "4:3",
            "resolution": "1K",
            "image_style_references": [{"url": "https://example.com/painting.jpg", "strength": 0.6}],
        }
    },
    "image to image": {
        "value": {
            "prompt": "A red fox in the snow, linocut print",
            "image_url": "https://example.com/sketch.jpg",
            "strength": 0.6,
            "intensity": 30,
        }
    },
    "trained style": {
        "value": {
            "prompt": "A lighthouse in a storm",
            "styles": [{"id": "8a1d4b7e-2c3f-4e5a-9b6c-7d8e9f0a1b2c", "strength": 0.8}],
        }
    },
    "moodboard": {
        "value": {
            "prompt": "A lighthouse in a storm",
            "moodboards": [{"id": "3f2b8c1e-5d4a-4c6b-9e7f-0a1b2c3d4e5f", "strength": 0.35}],
        }
    },
}
OLDER_NAMES = {
    "presetStyles": "styles",
    "imageStyleRefs": "image_style_references",
    "aspectRatio": "aspect_ratio",
    "imageUrl": "image_url",
}

UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "At most 75 MB. JPEG, PNG, WebP, HEIC, AVIF.",
                        },
                        "description": {"type": "string", "maxLength": 5000, "pattern": r"^[^\x00]*$"},
                    },
                    "additionalProperties": {"type": "string"},
                    "maxProperties": 9,
                }
            }
        },
    }
}
EVENT = {
    "type": "object",
    "description": "One event; its data is a Progress, a Waiting (which has no id) or, at the end, the Job "
    "as JSON.",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string"},
        "event": {"enum": ["waiting", "progress", "completed", "failed", "cancelled"]},
        "data": {"type": "string"},
    },
}
EVENTS = {"responses": {"200": {"content": {"text/event-stream": {"schema": EVENT}}}}}
NEW_LINK = {
    "responses": {
        "201": {
            "description": "The link was made",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ShareLink"}}},
        }
    }
}
PICTURE = {"responses": {"200": {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}}}


async def show(request: Request, base: BaseURL) -> JSONResponse:
    """This document."""
    document = {**request.app.state.document, "servers": [{"url": base}]}
    return JSONResponse(document, headers={"Access-Control-Allow-Origin": "*"})


def generation(model: Model) -> dict[str, Any]:
    """What the document says of asking `model` for a picture; clients want its schema inline."""
    schema = inline(GenerationRequest)
    fields = schema["properties"]
    fields["seed"] |= {"type": ["number", "null"], "multipleOf": 1, "minimum": 0, "maximum": 2**63 - 1}
    fields["image_url"] |= {"type": ["string", "null"], "format": "uri"}
    fields["strength"]["type"] = ["number", "null"]
    del fields["seed"]["anyOf"], fields["image_url"]["anyOf"]
    fields["resolution"]["enum"] = [fields["resolution"].pop("const")]
    fields["image_style_references"]["items"]["properties"]["url"]["format"] = "uri"
    return {
        "summary": model.title,
        "operationId": f"generate_krea_2_{model.variant.replace('-', '_')}",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "examples": EXAMPLES}},
        },
        "x-krea-pricing": {
            "type": "fixed",
            "currency": "USD",
            "unit": "request",
            "price_points": [
                {"amount": float(price), "dimensions": {"k2BillingTier": tier}}
                for tier, price in model.prices.items()
            ],
        },
        "x-krea-deprecated-field-aliases": [{"from": old, "to": new} for old, new in OLDER_NAMES.items()],
    }


def body(kind: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """What the document says of a JSON body."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": inline(kind)}}}}


def inline(kind: type[BaseModel]) -> dict[str, Any]:
    """The schema of `kind`, without references."""
    schema = kind.model_json_schema()
    inlined: dict[str, Any] = _inlined(schema, schema.pop("$defs", {}))
    return inlined


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document of `app`."""
    paints_krea = app.state.house.settings.models == "krea"
    about = f"{easel.__doc__}\n\n{NOTICE}" if paints_krea else easel.__doc__
    described = get_openapi(title="easel", version=easel.__version__, description=about, routes=app.routes)
    described["components"]["securitySchemes"] = {"bearerAuth": {"type": "http", "scheme": "bearer"}}
    described["security"] = [{"bearerAuth": []}]
    described["webhooks"] = {
        "jobFinished": {
            "post": {
                "summary": "Sent to X-Webhook-URL when a job ends, signed after Standard Webhooks",
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}}
                },
                "responses": {"2XX": {"description": "Received; a delivery may be repeated"}},
            }
        }
    }
    for path, operations in described["paths"].items():
        if "post" in operations and "{" not in path:
            operations["post"]["responses"]["200"]["links"] = _links(path, described["paths"])
    return described


def _links(path: str, paths: dict[str, Any]) -> dict[str, Any]:
    """What can be done with that which a POST to `path` has made."""
    own = f"{path}/{{id}}" in paths
    prefix, id_ = (f"{path}/{{id}}", "id") if own else ("/jobs/{id}", "job_id")
    return {
        operation["operationId"]: {
            "operationId": operation["operationId"],
            "parameters": {"id": f"$response.body#/{id_}"},
        }
        for place, operations in paths.items()
        if place.startswith(prefix)
        for operation in operations.values()
    }


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """`schema` with every reference replaced by what it names."""
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(value, definitions) for name, value in schema.items()}
