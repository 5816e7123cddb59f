"""The rules that decide compatibility, over real HTTP. Alone: python -m pytest tests/test_api_contract.py"""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from answering import MEDIUM, Api, answering, in_new_workspace, picture
from conftest import fresh_database

from easel.catalog import MODELS, SIZES
from easel.store import tokens

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
PUBLIC = {"/openapi.json", "/healthz", "/readyz", "/metrics", "/files/{key}", "/shared/moodboards/{key}"}


@pytest.fixture(scope="module")
def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with answering(fresh_database(postgres), tmp_path_factory.mktemp("api")) as api:
        yield api


@pytest.fixture
def api(server: Api) -> Iterator[Api]:
    with in_new_workspace(server) as api:
        yield api


def document(api: Api) -> dict[str, Any]:
    return httpx.get(f"{api.url}/openapi.json").json()


def test_every_route_but_the_public_ones_wants_a_token_before_it_looks_at_anything(api: Api) -> None:
    operations = [
        (method, path)
        for path, methods in document(api)["paths"].items()
        for method in methods
        if path not in PUBLIC
    ]
    assert len(operations) == 19
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


def test_a_revoked_token_ends_at_once(api: Api) -> None:
    token_id = UUID(api.client.headers["Authorization"].partition(" ")[2].partition(":")[0])
    assert api.client.get("/jobs").status_code == 200
    api.store(lambda database: tokens.revoke(database, token_id))
    assert api.client.get("/jobs").status_code == 401


def test_a_key_is_tested_with_an_empty_post(api: Api) -> None:
    assert api.client.post(MEDIUM).status_code == 400
    assert api.client.post(MEDIUM, json={}).status_code == 400


@pytest.mark.parametrize("variant", MODELS)
def test_submit_answers_200_with_a_new_job_and_nothing_else(api: Api, variant: str) -> None:
    answer = api.client.post(f"/generate/image/krea/krea-2/{variant}", json={"prompt": "a fox"})
    assert answer.status_code == 200
    job = answer.json()
    assert job.keys() == {"job_id", "status", "created_at", "completed_at", "result"}
    assert (job["status"], job["completed_at"], job["result"]) == ("queued", None, None)
    assert str(UUID(job["job_id"])) == job["job_id"]
    assert TIME.fullmatch(job["created_at"])


def test_the_model_is_the_route(api: Api) -> None:
    assert api.client.post(MEDIUM, json={"prompt": "a fox", "model": "krea-2"}).status_code == 400
    assert api.client.post(MEDIUM, json={"prompt": "a fox", "num_images": 2}).status_code == 400
    assert api.client.post(f"{MEDIUM}-rare", json={"prompt": "a fox"}).status_code == 404


def test_a_job_has_no_result_before_its_end(api: Api) -> None:
    job = api.submit()
    claim, _ = api.begin(job)
    api.step(claim, 1)
    read = api.client.get(f"/jobs/{job['job_id']}").json()
    assert read == {**job, "status": "processing"}


def test_a_finished_job_has_plain_urls_that_anybody_can_download(api: Api) -> None:
    job = api.submit()
    api.complete(*api.begin(job), picture())
    read = api.client.get(f"/jobs/{job['job_id']}").json()
    assert read.keys() == job.keys()
    assert read["status"] == "completed"
    assert TIME.fullmatch(read["completed_at"])
    [url] = read["result"]["urls"]
    file = httpx.get(url)
    assert file.content == picture()
    assert file.headers["Access-Control-Allow-Origin"] == "*"
    assert len(re.findall(r"[0-9a-f]", url.rpartition("/")[2].partition(".")[0])) * 4 >= 128


def test_a_failed_job_says_why_at_the_top_and_only_there(api: Api) -> None:
    job = api.submit()
    api.fail(*api.begin(job))
    read = api.client.get(f"/jobs/{job['job_id']}").json()
    assert read["status"] == "failed"
    assert read["error"] == {"code": "engine_error", "message": "out of paint"}
    assert read["result"] is None


def test_a_cancelled_job_reads_cancelled_and_cancelling_again_changes_nothing(api: Api) -> None:
    job = api.submit()
    first = api.client.delete(f"/jobs/{job['job_id']}")
    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert api.client.delete(f"/jobs/{job['job_id']}").json() == first.json()
    assert api.client.get(f"/jobs/{job['job_id']}").json() == first.json()


def test_an_answer_about_a_job_is_small_and_comes_without_redirects(api: Api) -> None:
    job = api.submit(prompt="a" * 5000)
    answer = api.client.get(f"/jobs/{job['job_id']}")
    assert answer.status_code == 200
    assert len(answer.content) < 64 * 1024
    assert api.client.get("/jobs/").status_code == 404


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
        assert body["properties"]["moodboards"]["maxItems"] == 1
        assert body["properties"]["image_style_references"]["items"]["properties"]["url"]["format"] == "uri"
        assert all(field["description"] for field in body["properties"].values())
    for method in ("post", "patch"):
        operation = told["paths"]["/moodboards" if method == "post" else "/moodboards/{id}"][method]
        assert "$ref" not in json.dumps(operation["requestBody"])
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert all(field["description"] for field in body["properties"].values())
    assert all(operation["summary"] for methods in told["paths"].values() for operation in methods.values())
    assert told["components"]["securitySchemes"]["bearerAuth"] == {"type": "http", "scheme": "bearer"}


@pytest.mark.parametrize(
    ("variant", "amounts"),
    [
        ("medium", [0.03, 0.035, 0.04]),
        ("large", [0.06, 0.065, 0.07]),
        ("medium-turbo", [0.015, 0.0175, 0.02]),
    ],
)
def test_the_document_tells_the_prices(api: Api, variant: str, amounts: list[float]) -> None:
    pricing = document(api)["paths"][f"/generate/image/krea/krea-2/{variant}"]["post"]["x-krea-pricing"]
    tiers = ["text-to-image", "srefs", "moodboards"]
    assert pricing == {
        "type": "fixed",
        "currency": "USD",
        "unit": "request",
        "price_points": [
            {"amount": amount, "dimensions": {"k2BillingTier": tier}}
            for amount, tier in zip(amounts, tiers, strict=True)
        ],
    }


def test_jobs_are_listed_newest_first_a_page_at_a_time(api: Api) -> None:
    made = [api.submit(prompt=f"fox {number}")["job_id"] for number in range(5)]
    first = api.client.get("/jobs?limit=3").json()
    second = api.client.get("/jobs", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [job["job_id"] for job in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None


def test_jobs_are_listed_by_status_and_type(api: Api) -> None:
    job = api.submit()
    api.client.post("/generate/image/krea/krea-2/large", json={"prompt": "a fox"})
    api.client.delete(f"/jobs/{job['job_id']}")

    def listed(**query: str) -> int:
        return len(api.client.get("/jobs", params=query).json()["items"])

    assert [listed(status=status) for status in ("queued", "cancelled", "sampling")] == [1, 1, 0]
    assert [listed(types=types) for types in ("medium", "large,medium", "flux,k1")] == [1, 2, 0]


@pytest.mark.parametrize("name", ["Idempotency-Key", "X-Idempotency-Key"])
def test_the_same_idempotency_key_gives_the_same_job(api: Api, name: str) -> None:
    def post(prompt: str) -> httpx.Response:
        return api.client.post(MEDIUM, json={"prompt": prompt}, headers={name: "k1"})

    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(post, ["a fox"] * 20))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert post("a bear").status_code == 422
    assert len(api.client.get("/jobs").json()["items"]) == 1


def test_what_the_contract_has_no_room_for_is_told_under_details(api: Api) -> None:
    job = api.submit(seed=7)
    api.complete(*api.begin(job), picture())
    told = api.client.get(f"/jobs/{job['job_id']}/details").json()
    assert (told["seed"], told["prompt"], told["expanded_prompt"]) == (7, "a fox", "a red fox")
    assert (told["cost"], told["engine"], told["checkpoint"]) == ("0.03", "null", "null-1")
