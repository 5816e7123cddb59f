"""Section 5 of the contract: trained styles. python -m pytest tests/wire/test_styles.py"""

from typing import Any
from uuid import UUID

import pytest
from answering import Api, picture

from wire.reading import TIME, assert_told, document

NOBODY = str(UUID(int=7))
TRAIN = "/styles/train"


def pictures(api: Api, count: int) -> list[str]:
    return [api.upload(picture(9 + number))["image_url"] for number in range(count)]


def test_a_training_answers_like_any_job(api: Api) -> None:
    body = {"name": "woodcuts", "urls": pictures(api, 3)}
    job = api.client.post(TRAIN, json=body)
    assert job.status_code == 200
    told = job.json()
    assert (told["status"], told["completed_at"], told["result"]) == ("queued", None, None)
    assert told == api.client.get(f"/jobs/{told['job_id']}").json()


@pytest.mark.parametrize(
    "fields",
    [
        *({"model": model} for model in ("k2", "k2-large")),
        *({"type": kind} for kind in ("Style", "Object", "Character")),
        {"trigger_word": "woodcut", "learning_rate": 0.0001, "max_train_steps": 2000, "batch_size": 1},
        {"trigger_word": "", "max_train_steps": 1},
    ],
    ids=str,
)
def test_every_field_of_the_contract_is_taken(api: Api, fields: dict[str, Any]) -> None:
    body = {"name": "woodcuts", "urls": pictures(api, 3), **fields}
    assert api.client.post(TRAIN, json=body).status_code == 200


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"name": None}, ["name"], ("string",)),
        ({"urls": []}, ["urls"], ("at least 3",)),
        ({"urls": ["https://8.8.8.8/a.png", "https://8.8.8.8/b.png"]}, ["urls"], ("at least 3", "not 2")),
        ({"model": "qwen"}, ["model"], ("'k2' or 'k2-large'", "'qwen'")),
        ({"max_train_steps": 3000}, ["max_train_steps"], ("2000", "3000")),
    ],
    ids=str,
)
def test_a_training_that_is_not_valid_is_400(
    api: Api, fields: dict[str, Any], path: list[Any], words: tuple[str, ...]
) -> None:
    body = {"name": "woodcuts", "urls": ["https://8.8.8.8/a.png"] * 3, **fields}
    assert_told(api.client.post(TRAIN, json=body), 400, path, *words)


def test_a_style_has_the_fields_of_the_contract(api: Api) -> None:
    style = api.client.get(f"/styles/{api.make_style(trigger_word='woodcut')}").json()
    assert style.keys() == {
        "id", "title", "urls", "public", "cover_url", "prompt", "models", "owner", "like_count", "created_at",
    }  # fmt: skip
    assert (style["prompt"], style["models"], style["like_count"]) == ("woodcut", ["k2"], 0)
    assert style["owner"].keys() == {"id", "name", "avatar_url"}
    assert TIME.fullmatch(style["created_at"])


def test_liked_may_arrive_as_the_text_false(api: Api) -> None:
    style = api.make_style()
    for query in ("liked=False", "liked=false", "liked=0", ""):
        page = api.client.get(f"/styles?{query}").json()
        assert page.keys() == {"items", "next_cursor"}
        assert [one["id"] for one in page["items"]] == [style]


def test_sharing_with_the_workspace_needs_no_body(api: Api) -> None:
    style = api.make_style()
    for method in ("POST", "DELETE"):
        told = api.client.request(method, f"/styles/{style}/share/workspace").json()
        assert told.keys() == {"success", "style_id", "workspace"}
        assert told["workspace"].keys() == {"id", "name", "is_default"}
        assert (told["success"], told["style_id"]) == (True, style)


def test_a_share_link_is_201_when_it_is_made_and_200_after(api: Api) -> None:
    style = api.make_style()
    answers = [api.client.get(f"/styles/{style}/share/link") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert [answer.json()["is_new"] for answer in answers] == [True, False]
    assert len({answer.json()["share_link"] for answer in answers}) == 1


@pytest.mark.parametrize("body", [{}, {"public": None}, {"likes": 1}, {"title": 3}], ids=str)
def test_a_patch_without_a_valid_field_is_400(api: Api, body: dict[str, Any]) -> None:
    assert api.client.patch(f"/styles/{api.make_style()}", json=body).status_code == 400


def test_ids_that_are_none_of_ours_are_404(api: Api) -> None:
    for unknown in (NOBODY, "tok_abc"):
        path = f"/styles/{unknown}"
        answers = [
            api.client.get(path),
            api.client.patch(path, json={"title": "a"}),
            api.client.get(f"{path}/share/link"),
            api.client.post(f"{path}/share/workspace"),
            api.client.delete(f"{path}/share/workspace"),
        ]
        assert [answer.status_code for answer in answers] == [404] * 5


def test_the_document_tells_of_styles_where_clients_look(api: Api) -> None:
    paths = document(api)["paths"]
    training = paths[TRAIN]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert training["required"] == ["name", "urls"]
    assert (training["properties"]["urls"]["minItems"], training["properties"]["urls"]["maxItems"]) == (
        3,
        2000,
    )
    medium = paths["/generate/image/krea/krea-2/medium"]["post"]["requestBody"]["content"]
    uses = medium["application/json"]["schema"]["properties"]["styles"]
    assert (uses["maxItems"], uses["items"]["properties"]["strength"]["maximum"]) == (10, 2)
