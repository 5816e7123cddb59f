"""Section 1 of the contract, and rule 1: tokens, and whose rows they open.

python -m pytest tests/wire/test_auth.py
"""

import re
from uuid import UUID, uuid4

import httpx
import pytest
from answering import MEDIUM, Api

from easel.store import tokens, workspaces
from easel.store.database import Database
from wire.reading import document

PUBLIC = {
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/metrics",
    "/files/{key}",
    "/shared/moodboards/{key}",
    "/shared/styles/{key}",
}


def test_every_route_but_the_public_ones_wants_a_token_before_it_looks_at_anything(api: Api) -> None:
    operations = [
        (method, path)
        for path, methods in document(api)["paths"].items()
        for method in methods
        if path not in PUBLIC
    ]
    assert len(operations) == 30
    for method, path in operations:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {uuid4()}:wrong"}):
            answer = httpx.request(method, api.url + path.replace("{id}", "x"), headers=headers)
            assert answer.status_code == 401, (method, path)
            assert answer.json() == {"error": "Unauthorized", "message": "Unauthorized"}


def test_a_large_body_without_a_token_is_refused_unread(api: Api) -> None:
    answer = httpx.post(api.url + MEDIUM, content=b"{" * 10_000_000)
    assert answer.status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Key"])
def test_a_token_is_taken_after_bearer_and_after_key(api: Api, scheme: str) -> None:
    token = api.client.headers["Authorization"].partition(" ")[2]
    answer = httpx.get(f"{api.url}/jobs?limit=1", headers={"Authorization": f"{scheme} {token}"})
    assert answer.status_code == 200


def test_a_token_is_shaped_as_id_and_secret_and_a_workspace_may_have_several(api: Api) -> None:
    async def two(database: Database) -> list[str]:
        workspace = await workspaces.default(database)
        return [await tokens.create(database, workspace, "test") for _ in range(2)]

    for token in api.store(two):
        identifier, _, secret = token.partition(":")
        assert str(UUID(identifier)) == identifier
        assert re.fullmatch(r"[\w-]{43,}", secret)
        assert httpx.get(f"{api.url}/jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_a_revoked_token_ends_at_once(api: Api) -> None:
    token_id = UUID(api.client.headers["Authorization"].partition(" ")[2].partition(":")[0])
    assert api.client.get("/jobs").status_code == 200
    api.store(lambda database: tokens.revoke(database, token_id))
    assert api.client.get("/jobs").status_code == 401


def test_a_key_is_tested_with_an_empty_post(api: Api) -> None:
    assert api.client.post(MEDIUM).status_code == 400
    assert api.client.post(MEDIUM, json={}).status_code == 400
