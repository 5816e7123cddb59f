"""Section 1 of the contract, and rule 1: tokens, and whose rows they open.

python -m pytest tests/wire/test_auth.py
"""

import re
from uuid import UUID, uuid4

import httpx
import pytest
from answering import MEDIUM, Api, in_new_workspace, picture

from easel.store import tokens
from wire.reading import document

PUBLIC = {"/openapi.json", "/healthz", "/readyz", "/metrics", "/files/{key}"}


def test_every_route_but_the_public_ones_wants_a_token_before_it_looks_at_anything(api: Api) -> None:
    operations = [
        (method, path)
        for path, methods in document(api)["paths"].items()
        for method in methods
        if path not in PUBLIC
    ]
    assert len(operations) == 15
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
    made = [api.store(lambda database: tokens.create(database, "test")) for _ in range(2)]
    for token in made:
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


def test_another_workspaces_rows_are_not_found_by_any_route(api: Api) -> None:
    api.client.delete(f"/jobs/{api.submit(webhook_url='https://8.8.8.8/hook')['job_id']}")
    (delivery,) = api.client.get("/webhooks/deliveries").json()["items"]
    job, asset = api.submit(), api.upload(picture())
    with in_new_workspace(api) as stranger:
        other = stranger.client
        rows = {
            "/jobs/{id}": job["job_id"],
            "/assets/{id}": asset["id"],
            "/webhooks/deliveries/{id}": delivery["id"],
        }
        tried = 0
        for path, methods in document(api)["paths"].items():
            for prefix, row in rows.items():
                for method in methods if path.startswith(prefix) else ():
                    answer = other.request(method, path.replace("{id}", row))
                    assert answer.status_code == 404, (method, path)
                    assert answer.json()["error"] == answer.json()["message"]
                    tried += 1
        assert tried == 8
        for path in ("/jobs", "/assets", "/webhooks/deliveries"):
            assert other.get(path).json()["items"] == []
    assert api.client.get(f"/jobs/{job['job_id']}").json()["status"] == "queued"
