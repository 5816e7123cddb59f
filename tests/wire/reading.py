"""How the suite reads answers."""

import re
from typing import Any

import httpx
from answering import Api

A_FOX = {"prompt": "a fox"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


def document(api: Api) -> dict[str, Any]:
    """The OpenAPI document, read as anybody may."""
    return httpx.get(f"{api.url}/openapi.json").json()


def assert_told(answer: httpx.Response, status: int, path: list[Any], *words: str) -> None:
    """That a refusal tells the place and, among others, these words."""
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told["error"] == told["message"]
    assert path in [detail["path"] for detail in told["details"]]
    for word in words:
        assert word in told["error"]
