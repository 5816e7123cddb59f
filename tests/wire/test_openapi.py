"""Rule 8 of the contract: the document that clients read at their start.

python -m pytest tests/wire/test_openapi.py
"""

import json

import httpx
from answering import MEDIUM, Api

from easel.catalog import MODELS, SIZES
from wire.reading import document


def test_the_document_is_public_and_its_request_schemas_stand_inline(api: Api) -> None:
    told = document(api)
    for variant in MODELS:
        operation = told["paths"][f"/generate/image/krea/krea-2/{variant}"]["post"]
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert "$ref" not in json.dumps(operation["requestBody"])
        assert body["additionalProperties"] is False
        assert body["properties"]["aspect_ratio"]["enum"] == list(SIZES)
        assert body["properties"]["resolution"]["enum"] == ["1K"]
        assert body["properties"]["seed"]["type"] == ["number", "null"]
        assert body["properties"]["image_style_references"]["items"]["properties"]["url"]["format"] == "uri"
        assert all(field["description"] for field in body["properties"].values())
        assert body["properties"]["moodboards"]["maxItems"] == 1
        assert body["required"] == ["prompt"]
    for path, method in (("/moodboards", "post"), ("/moodboards/{id}", "patch")):
        operation = told["paths"][path][method]
        assert "$ref" not in json.dumps(operation["requestBody"])
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert all(field["description"] for field in body["properties"].values())
    assert all(operation["summary"] for methods in told["paths"].values() for operation in methods.values())
    parameters = [
        parameter
        for methods in told["paths"].values()
        for operation in methods.values()
        for parameter in operation.get("parameters", [])
    ]
    assert [parameter["name"] for parameter in parameters if not parameter.get("description")] == []
    assert told["components"]["securitySchemes"]["bearerAuth"] == {"type": "http", "scheme": "bearer"}


def test_the_document_tells_what_can_be_done_with_what_was_made(api: Api) -> None:
    paths = document(api)["paths"]
    for made, where, id_ in ((MEDIUM, "/jobs", "job_id"), ("/moodboards", "/moodboards", "id")):
        links = paths[made]["post"]["responses"]["200"]["links"].values()
        named = {link["operationId"] for link in links}
        assert {operation["operationId"] for operation in paths[where + "/{id}"].values()} <= named
        assert all(link["parameters"] == {"id": f"$response.body#/{id_}"} for link in links)


def test_the_document_tells_defaults_and_bounds(api: Api) -> None:
    body = document(api)["paths"][MEDIUM]["post"]["requestBody"]["content"]["application/json"]["schema"]
    fields = body["properties"]
    told = {name: field["default"] for name, field in fields.items() if "default" in field}
    assert told == {
        "aspect_ratio": "1:1",
        "resolution": "1K",
        "creativity": "medium",
        "image_style_references": [],
        "styles": [],
        "moodboards": [],
        "intensity": 0,
        "complexity": 0,
        "movement": 0,
        "strength": 0.99,
    }
    for name in ("intensity", "complexity", "movement"):
        assert (fields[name]["type"], fields[name]["minimum"], fields[name]["maximum"]) == (
            "integer",
            -100,
            100,
        )
    assert (fields["image_url"]["type"], fields["image_url"]["format"]) == (["string", "null"], "uri")
    assert (fields["strength"]["minimum"], fields["strength"]["maximum"]) == (0, 1)
    strength = fields["image_style_references"]["items"]["properties"]["strength"]
    assert (strength["default"], strength["minimum"], strength["maximum"]) == (0.5, -2, 2)
    (limit,) = [
        one["schema"]
        for one in document(api)["paths"]["/jobs"]["get"]["parameters"]
        if one["name"] == "limit"
    ]
    assert (limit["default"], limit["minimum"], limit["maximum"]) == (100, 1, 1000)


def test_the_document_may_be_read_by_any_page_and_says_where_it_came_from(api: Api) -> None:
    answer = httpx.get(f"{api.url}/openapi.json")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.json()["servers"] == [{"url": api.url}]
