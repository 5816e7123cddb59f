"""Section 2 of the contract, and rules 2, 3 and 9: asking for a picture.

python -m pytest tests/wire/test_generation.py
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest
from answering import MEDIUM, Api

from easel.catalog import MODELS, SIZES
from wire.reading import A_FOX, TIME, assert_told


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


NOBODY = "00000000-0000-0000-0000-000000000000"
NOT_VALID: list[tuple[Any, list[Any], tuple[str, ...]]] = [
    ({}, ["prompt"], ("prompt is missing", "add it")),
    ({"prompt": ""}, ["prompt"], ("at least 1 character", "''")),
    ({"prompt": " \n"}, ["prompt"], ("what to paint",)),
    ({"prompt": "a" * 5001}, ["prompt"], ("at most 5000 characters", "aaa")),
    ({"prompt": None}, ["prompt"], ("string", "None")),
    ({"prompt": ["a fox"]}, ["prompt"], ("string", "['a fox']")),
    ({"prompt": "a \0 fox"}, ["prompt"], ("U+0000",)),
    (A_FOX | {"aspect_ratio": "5:5"}, ["aspect_ratio"], ("'16:9'", "'5:5'")),
    (A_FOX | {"resolution": "4K"}, ["resolution"], ("'1K'", "'4K'")),
    (A_FOX | {"creativity": "wild"}, ["creativity"], ("'raw'", "'wild'")),
    (A_FOX | {"seed": -1}, ["seed"], ("greater than or equal to 0", "-1")),
    (A_FOX | {"seed": 2**63}, ["seed"], ("9223372036854775807",)),
    (A_FOX | {"seed": 1.5}, ["seed"], ("integer", "1.5")),
    (A_FOX | {"seed": "7"}, ["seed"], ("integer", "'7'")),
    *(
        (A_FOX | {field: value}, [field], words)
        for field in ("intensity", "complexity", "movement")
        for value, words in {
            -101: ("greater than or equal to -100", "-101"),
            101: ("less than or equal to 100", "101"),
            1.5: ("integer", "1.5"),
            "7": ("integer", "'7'"),
            True: ("integer", "True"),
        }.items()
    ),
    (A_FOX | {"strength": -0.1}, ["strength"], ("greater than or equal to 0", "-0.1")),
    (A_FOX | {"strength": 1.01}, ["strength"], ("less than or equal to 1", "1.01")),
    (A_FOX | {"strength": "0.5"}, ["strength"], ("number", "'0.5'")),
    (A_FOX | {"image_url": 7}, ["image_url"], ("string", "7")),
    (A_FOX | {"image_url": [""]}, ["image_url"], ("string", "['']")),
    (A_FOX | {"model": "x"}, ["model"], ("no field of this request", "'x'", "leave it out")),
    (A_FOX | {"image_style_references": {}}, ["image_style_references"], ("array",)),
    (A_FOX | {"image_style_references": [{"url": "x"}] * 11}, ["image_style_references"], ("at most 10",)),
    (A_FOX | {"moodboards": [{"id": NOBODY}] * 2}, ["moodboards"], ("at most 1 item",)),
]

NOT_USABLE: list[tuple[dict[str, Any], list[Any], tuple[str, ...]]] = [
    ({"styles": [{"id": "tok_1"}]}, ["styles", 0, "id"], ("no style 'tok_1'", "GET /styles")),
    ({"presetStyles": [{"id": NOBODY}]}, ["styles", 0, "id"], ("no style", NOBODY)),
    ({"styles": [{"id": NOBODY, "strength": 3}]}, ["styles", 0, "strength"], ("less than or equal to 2",)),
    ({"moodboards": [{"id": "a"}]}, ["moodboards", 0, "id"], ("UUID", "'a'")),
    ({"moodboards": [{"id": NOBODY}]}, ["moodboards", 0, "id"], ("no moodboard", NOBODY, "GET /moodboards")),
    ({"moodboards": [{}]}, ["moodboards", 0, "id"], ("id is missing",)),
    (
        {"moodboards": [{"id": NOBODY, "strength": 1.6}]},
        ["moodboards", 0, "strength"],
        ("less than or equal to 1.5", "1.6"),
    ),
    (
        {"moodboards": [{"id": NOBODY, "strength": -0.6}]},
        ["moodboards", 0, "strength"],
        ("greater than or equal to -0.5", "-0.6"),
    ),
    ({"image_style_references": ["https://a"]}, ["image_style_references", 0], ("object", "'https://a'")),
    ({"image_style_references": [{}]}, ["image_style_references", 0, "url"], ("url is missing",)),
    ({"image_style_references": [{"url": 1}]}, ["image_style_references", 0, "url"], ("string",)),
    (
        {"image_style_references": [{"url": "http://8.8.8.8/", "strength": 3}]},
        ["image_style_references", 0, "strength"],
        ("less than or equal to 2", "3"),
    ),
]


@pytest.mark.parametrize(("body", "path", "words"), NOT_VALID, ids=lambda value: str(value)[:40])
def test_a_body_that_is_not_valid_is_400(
    api: Api, body: Any, path: list[Any], words: tuple[str, ...]
) -> None:
    assert_told(api.client.post(MEDIUM, json=body), 400, path, *words)


@pytest.mark.parametrize("body", [b"", b"{", b"fox", b'"fox"', b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_400(api: Api, body: bytes) -> None:
    assert_told(api.client.post(MEDIUM, content=body), 400, [], "body")


@pytest.mark.parametrize(("fields", "path", "words"), NOT_USABLE, ids=lambda value: str(value)[:40])
def test_wrong_items_are_422(
    api: Api, fields: dict[str, Any], path: list[Any], words: tuple[str, ...]
) -> None:
    assert_told(api.client.post(MEDIUM, json=A_FOX | fields), 422, path, *words)


@pytest.mark.parametrize(
    "fields",
    [
        *({"aspect_ratio": ratio} for ratio in SIZES),
        *({"creativity": creativity} for creativity in ("raw", "low", "medium", "high")),
        *({"seed": seed} for seed in (0, 2**63 - 1, None)),
        {"resolution": "1K"},
        {"prompt": "a"},
        {"prompt": "a" * 5000},
        {"aspectRatio": "16:9"},
        {"styles": [], "moodboards": None},
        {"presetStyles": []},
        *({"image_url": nothing, "strength": strength} for nothing in ("", None) for strength in (0, 1, 0.5)),
        {"imageUrl": None, "strength": None},
        *({name: v} for name in ("intensity", "complexity", "movement") for v in (-100, 0, 40.0, 100, None)),
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_every_value_of_the_contract_is_taken(api: Api, fields: dict[str, Any]) -> None:
    api.submit(**fields)


def test_a_seed_is_kept_exactly_and_may_be_a_whole_float(api: Api) -> None:
    for seed in (2**63 - 1, 12.0, 0):
        job = api.submit(seed=seed)
        assert api.client.get(f"/jobs/{job['job_id']}/details").json()["seed"] == seed


def test_without_a_seed_it_is_random(api: Api) -> None:
    jobs = [api.submit(), api.submit(seed=None)]
    seeds = {api.client.get(f"/jobs/{job['job_id']}/details").json()["seed"] for job in jobs}
    assert len(seeds) == 2


@pytest.mark.parametrize("name", ["Idempotency-Key", "X-Idempotency-Key"])
def test_the_same_idempotency_key_gives_the_same_job(api: Api, name: str) -> None:
    def post(prompt: str) -> httpx.Response:
        return api.client.post(MEDIUM, json={"prompt": prompt}, headers={name: "k1"})

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(post, ["a fox"] * 50))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert post("a bear").status_code == 422
    assert len(api.client.get("/jobs").json()["items"]) == 1


def test_an_empty_idempotency_key_is_none(api: Api) -> None:
    headers = {"Idempotency-Key": "", "X-Idempotency-Key": ""}
    jobs = [api.client.post(MEDIUM, json=A_FOX, headers=headers).json()["job_id"] for _ in range(2)]
    assert jobs[0] != jobs[1]


def test_an_overlong_idempotency_key_is_400(api: Api) -> None:
    answer = api.client.post(MEDIUM, json=A_FOX, headers={"Idempotency-Key": "k" * 256})
    assert_told(answer, 400, ["Idempotency-Key"], "at most 255 characters")
