"""Workspaces, members and tokens. Alone: python -m pytest tests/test_accounts.py"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from answering import MEDIUM, Api, in_new_workspace, picture
from commands import at, easel
from databases import opened
from serving import Served
from sqlalchemy import text

from easel.api.routes import PRIVATE, PUBLIC, Route
from easel.errors import NotFound, Unprocessable
from easel.store import members, tokens, workspaces
from easel.store.database import Database


def sent(api: Api) -> dict[str, Any]:
    """A webhook, waiting to be delivered."""
    api.client.delete(f"/jobs/{api.submit(webhook_url='https://8.8.8.8/hook')['job_id']}")
    return api.client.get("/webhooks/deliveries").json()["items"][0]


OPEN_TO_ALL = {
    "/files/{key}",
    "/shared/moodboards/{key}",
    "/shared/styles/{key}",
}  # to whoever knows the address
MADE = {
    "jobs": lambda api: api.submit()["job_id"],
    "assets": lambda api: api.upload(picture())["id"],
    "moodboards": lambda api: api.make_moodboard()["id"],
    "styles": lambda api: api.make_style(),
    "webhooks": lambda api: sent(api)["id"],
}
"""How to make one thing of each kind that has an id: a route to a new kind needs a row here."""
CHANGES = {"moodboards": {"name": "another"}, "styles": {"title": "another"}}
"""What a PATCH needs of its owner."""


@pytest.mark.parametrize(
    "route",
    [route for route in [*PRIVATE, *PUBLIC] if "{" in route.path and route.path not in OPEN_TO_ALL],
    ids=lambda route: f"{route.method} {route.path}",
)
def test_what_another_workspace_made_is_not_found(api: Api, route: Route) -> None:
    kind = route.path.split("/")[1]
    assert kind in MADE, f"{route.path} has an id: say in MADE how to make such a thing"
    path = route.path.replace("{id}", MADE[kind](api))
    with in_new_workspace(api) as stranger:
        answer = stranger.client.request(route.method, path, json={})
        assert answer.status_code == 404
        assert answer.json()["error"] == answer.json()["message"]
    changes = CHANGES.get(kind) if route.method == "PATCH" else {}
    with api.client.stream(route.method, path, json=changes) as answer:
        assert answer.status_code in (200, 201)


def test_lists_show_nothing_of_another_workspace(api: Api) -> None:
    api.submit()
    api.upload(picture())
    api.make_moodboard()
    api.make_style()
    sent(api)
    with in_new_workspace(api) as stranger:
        for path in ("/jobs", "/assets", "/moodboards", "/styles", "/webhooks/deliveries"):
            assert stranger.client.get(path).json()["items"] == []


def test_pictures_of_another_workspace_make_no_moodboard_and_its_moodboard_no_picture(api: Api) -> None:
    asset, board = api.upload(picture()), api.make_moodboard()
    with in_new_workspace(api) as stranger:
        answer = stranger.client.post("/moodboards", json={"name": "a", "asset_ids": [asset["id"]]})
        assert answer.status_code == 422
        assert answer.json()["details"][0]["path"] == ["asset_ids", 0]
        asked = {"prompt": "a fox", "moodboards": [{"id": board["id"]}]}
        answer = stranger.client.post(MEDIUM, json=asked)
        assert answer.status_code == 422
        assert answer.json()["details"][0]["path"] == ["moodboards", 0, "id"]
        assert board["id"] in answer.json()["error"]


def test_an_expired_token_opens_nothing(api: Api) -> None:
    def status(expires_in: timedelta) -> int:
        async def made(database: Database) -> str:
            workspace = await workspaces.default(database)
            return await tokens.create(database, workspace, "t", datetime.now(UTC) + expires_in)

        return api.client.get("/jobs", headers={"Authorization": f"Bearer {api.store(made)}"}).status_code

    assert status(timedelta(minutes=1)) == 200
    assert status(timedelta(seconds=-1)) == 401


def test_the_use_of_a_token_is_written_once_a_minute(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            raw = await tokens.create(database, await workspaces.default(database), "laptop")

            async def written() -> Any:
                async with database.read() as connection:
                    row = await connection.execute(text("SELECT last_used_at, xmin::text FROM tokens"))
                    return row.one()

            unused = await written()
            assert unused.last_used_at is None
            await asyncio.gather(*(tokens.caller(database, raw) for _ in range(8)))
            used = await written()
            assert used.last_used_at is not None
            await tokens.caller(database, raw)
            assert await written() == used
            async with database.begin() as connection:
                await connection.execute(
                    text("UPDATE tokens SET last_used_at = now() - interval '61 seconds'")
                )
            await tokens.caller(database, raw)
            assert (await written()).last_used_at > used.last_used_at

    asyncio.run(story())


def test_a_wrong_secret_is_no_use_of_a_token(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            raw = await tokens.create(database, await workspaces.default(database), "laptop")
            assert await tokens.caller(database, raw + "x") is None
            assert [info.last_used_at for info in await tokens.listing(database)] == [None]

    asyncio.run(story())


def test_the_first_workspace_is_made_once_and_has_an_owner(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            made = await asyncio.gather(*(workspaces.default(database) for _ in range(5)))
            assert len(set(made)) == 1
            assert [info.name for info in await workspaces.listing(database)] == ["default"]
            assert [(m.name, m.role) for m in await members.listing(database, made[0])] == [
                ("owner", "owner")
            ]

    asyncio.run(story())


def test_a_workspace_keeps_an_owner_though_all_are_removed_at_once(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.create(database, "studio", "ada")
            await members.add(database, workspace, "bob", "owner")
            await members.add(database, workspace, "cy", "admin")
            left = await asyncio.gather(
                *(members.remove(database, workspace, name) for name in ("ada", "bob", "cy")),
                return_exceptions=True,
            )
            assert [type(error) for error in left if error] == [NotFound]
            [owner] = await members.listing(database, workspace)
            assert owner.role == "owner"

    asyncio.run(story())


def test_names_of_workspaces_and_of_members_are_given_once(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.create(database, "studio", "ada")
            with pytest.raises(Unprocessable, match="'studio' already"):
                await workspaces.create(database, "studio", "bob")
            with pytest.raises(Unprocessable, match="'ada' is a member already"):
                await members.add(database, workspace, "ada", "member")
            with pytest.raises(NotFound, match="'zoe' is no member"):
                await members.remove(database, workspace, "zoe")
            with pytest.raises(NotFound, match=r"no workspace 'nowhere'.*easel account list"):
                await workspaces.named(database, "nowhere")
            with pytest.raises(NotFound, match="no token"):
                await tokens.revoke(database, uuid4())

    asyncio.run(story())


def test_a_workspace_is_set_up_from_the_command_line(served: Served) -> None:
    data = {"EASEL_DATA": str(served.data), "COLUMNS": "40"}  # ids are whole in narrow windows too
    assert easel("account", "create", "studio", "--owner", "ada@example.org", **data).returncode == 0
    assert "studio" in easel("account", "list", **data).stdout

    easel("account", "member", "add", "studio", "bob", "--role", "admin", **data)
    listed = easel("account", "member", "list", "studio", **data).stdout
    assert [word for word in listed.split() if word in ("ada@example.org", "bob", "owner", "admin")] == [
        "ada@example.org", "owner", "bob", "admin",
    ]  # fmt: skip
    assert easel("account", "member", "remove", "studio", "bob", **data).returncode == 0
    last = easel("account", "member", "remove", "studio", "ada@example.org", **data)
    assert (last.returncode, last.stdout) == (1, "")
    assert "last owner" in last.stderr

    made = easel("account", "token", "create", "t", "--workspace", "studio", "--days", "30", **data)
    token = made.stdout.strip()
    bearer = at(served) | {"KREA_API_KEY": token}
    assert easel("generate", "a fox", "-o", "/dev/null", **bearer).returncode == 0
    row = next(
        line for line in easel("account", "token", "list", **data).stdout.splitlines() if token[:36] in line
    )
    assert row.split()[1:3] == ["studio", "t"]
    assert len(row.split()) == 9  # id, workspace, name; made, last used and expires: each a day and a time
    assert easel("account", "token", "revoke", str(UUID(token[:36])), **data).returncode == 0
    assert easel("generate", "a fox", **bearer).returncode == 3


def test_a_workspace_that_is_not_there_ends_the_command(served: Served) -> None:
    ran = easel("account", "token", "create", "t", "--workspace", "nowhere", EASEL_DATA=str(served.data))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "no workspace 'nowhere'" in ran.stderr
