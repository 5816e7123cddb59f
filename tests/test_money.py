"""Money over real HTTP and the command line. Alone: python -m pytest tests/test_money.py"""

import base64
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from answering import MEDIUM, Api, answering, in_new_workspace, picture
from commands import easel
from databases import fresh_database
from serving import Served
from sqlalchemy import text

from easel.store import ledger, tokens
from easel.store.database import Database


@pytest.fixture(scope="module")
def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with answering(fresh_database(postgres), tmp_path_factory.mktemp("api"), billing="prepaid") as api:
        yield api


def token_id(api: Api) -> str:
    return str(api.client.headers["Authorization"].partition(" ")[2].partition(":")[0])


def workspace_id(api: Api) -> UUID:
    async def found(database: Database) -> Any:
        async with database.read() as connection:
            query = text("SELECT workspace_id FROM tokens WHERE id = :id")
            return await connection.scalar(query, {"id": token_id(api)})

    return UUID(str(api.store(found)))


def top_up(api: Api, amount: str) -> None:
    workspace = workspace_id(api)
    api.store(lambda database: ledger.top_up(database, workspace, Decimal(amount)))


def post(api: Api, **headers: str) -> httpx.Response:
    return api.client.post(MEDIUM, json={"prompt": "a fox"}, headers=headers)


def test_a_picture_that_the_balance_does_not_cover_is_refused(api: Api) -> None:
    answer = post(api)
    assert answer.status_code == 402
    assert answer.json().keys() == {"error", "message"}
    told = answer.json()["message"]
    assert answer.json()["error"] == told
    assert all(word in told for word in ("insufficient", "balance", "0.03 USD", "easel account top-up"))
    assert api.client.get("/jobs").json()["items"] == []


def test_a_refused_picture_ends_the_command_with_2_and_says_why(api: Api) -> None:
    key = api.client.headers["Authorization"].partition(" ")[2]
    ran = easel("generate", "a fox", KREA_BASE_URL=api.url, KREA_API_KEY=key)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("easel: The balance is insufficient")


def test_what_is_promised_to_unfinished_jobs_cannot_be_spent_again(api: Api) -> None:
    top_up(api, "0.06")
    first, second = api.submit(), api.submit()
    assert post(api).status_code == 402
    api.client.delete(f"/jobs/{second['job_id']}")
    assert post(api).status_code == 200
    assert post(api).status_code == 402
    api.complete(*api.begin(first), picture())
    assert api.client.get(f"/jobs/{first['job_id']}").json()["status"] == "completed"
    assert post(api).status_code == 402


def test_a_repeated_request_is_answered_with_its_job_though_the_balance_is_used_up(api: Api) -> None:
    top_up(api, "0.03")
    first = post(api, **{"Idempotency-Key": "k"})
    assert first.status_code == 200
    assert post(api, **{"Idempotency-Key": "k"}).json() == first.json()
    assert post(api, **{"Idempotency-Key": "another"}).status_code == 402


def test_nothing_is_refused_while_billing_is_off(postgres: str, tmp_path: Path) -> None:
    with answering(fresh_database(postgres), tmp_path) as server, in_new_workspace(server) as api:
        api.complete(*api.begin(api.submit()), picture())
        assert api.client.get("/usage").json()["amount"] == "0.03"


def test_usage_tells_what_was_spent_by_day_model_and_token(api: Api) -> None:
    top_up(api, "10")
    workspace = workspace_id(api)
    other = api.store(lambda database: tokens.create(database, workspace, "website"))
    for _ in range(2):
        api.complete(*api.begin(api.submit()), picture())
    job = api.client.post(
        MEDIUM.replace("medium", "medium-turbo"),
        json={"prompt": "a fox", "image_style_references": [{"url": data_uri()}]},
        headers={"Authorization": f"Bearer {other}"},
    )
    api.complete(*api.begin(job.json()), picture())
    api.fail(*api.begin(api.submit()))
    api.client.delete(f"/jobs/{api.submit()['job_id']}")
    api.submit()

    today = datetime.now(UTC).date()
    told = api.client.get("/usage").json()
    assert told == {
        "from": str(today.replace(day=1)),
        "to": str(today),
        "currency": "USD",
        "pictures": 3,
        "amount": "0.0775",
        "items": [
            row(today, "medium", token_id(api), "test", 2, "0.06"),
            row(today, "medium-turbo", other[:36], "website", 1, "0.0175"),
        ],
    }


def row(day: date, variant: str, token_id: str, token: str, pictures: int, amount: str) -> dict[str, Any]:
    names = ("day", "variant", "token_id", "token", "pictures", "amount")
    return dict(zip(names, (str(day), variant, token_id, token, pictures, amount), strict=True))


def data_uri() -> str:
    return f"data:image/png;base64,{base64.b64encode(picture()).decode()}"


def test_usage_is_of_the_days_that_are_asked_for_in_utc(api: Api) -> None:
    top_up(api, "1")
    workspace = workspace_id(api)
    for time in ("2021-03-01T00:00Z", "2021-03-01T23:59:59Z", "2021-03-02T00:00Z", "2021-04-09T12:00Z"):
        api.complete(*api.begin(api.submit()), picture())
        api.store(lambda database, time=time: charged_at(database, workspace, time))

    def told(**days: str) -> list[tuple[str, int]]:
        answer = api.client.get("/usage", params=days)
        assert answer.status_code == 200, answer.text
        return [(item["day"], item["pictures"]) for item in answer.json()["items"]]

    assert told(**{"from": "2021-03-01", "to": "2021-03-01"}) == [("2021-03-01", 2)]
    assert told(to="2021-03-31") == [("2021-03-02", 1), ("2021-03-01", 2)]
    assert len(told(**{"from": "0001-01-01", "to": "9999-12-31"})) == 3
    assert told() == []
    with in_new_workspace(api) as stranger:
        assert stranger.client.get("/usage?from=2021-01-01").json()["items"] == []


async def charged_at(database: Database, workspace: UUID, time: str) -> None:
    newest = "SELECT job_id FROM ledger WHERE workspace_id = :its ORDER BY charged_at DESC LIMIT 1"
    statement = (
        f"UPDATE ledger SET charged_at = CAST(CAST(:time AS text) AS timestamptz) WHERE job_id = ({newest})"
    )
    async with database.begin() as connection:
        await connection.execute(text(statement), {"its": workspace, "time": time})


@pytest.mark.parametrize(
    "days", ["from=yesterday", "to=0", "from=20210301", "from=2021-03-02&to=2021-03-01", "to=2021-02-30"]
)
def test_days_that_are_none_are_refused(api: Api, days: str) -> None:
    answer = api.client.get(f"/usage?{days}")
    assert answer.status_code == 400
    assert answer.json()["details"][0]["path"] in (["from"], ["to"])


def test_a_balance_is_topped_up_and_shown_from_the_command_line(served: Served) -> None:
    data = {"EASEL_DATA": str(served.data)}
    easel("account", "create", "shop", **data)
    assert easel("account", "top-up", "shop", "12.50", **data).returncode == 0
    shown = easel("account", "balance", "shop", **data)
    assert shown.stdout == "12.5 USD, of which 0 USD are promised\n"
    for wrong in ("0", "1e3", "0.0000001", "lots", "1,50"):
        ran = easel("account", "top-up", "shop", wrong, **data)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert repr(wrong) in ran.stderr
    assert easel("account", "balance", "nowhere", **data).returncode == 1
