"""The Python client, against a real server with the null engine.

python -m pytest tests/test_sdk.py
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from answering import Api, colours, data_uri
from losing import break_now, losing_an_answer, wait
from PIL import Image
from serving import Served

import easel
from easel import AsyncClient, Client, Progress, errors
from easel.schema.jobs import Job, Result
from easel.schema.moodboards import Moodboard
from easel.sdk import calls
from easel.sdk.events import Event, EventReader


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.token, served.url) as client:
        yield client


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    path = tmp_path / "drawing.png"
    Image.new("RGB", (64, 48), "teal").save(path)
    return path


def test_a_picture_is_painted_and_kept(client: Client, drawing: Path, tmp_path: Path) -> None:
    steps: list[Progress] = []
    picture = client.generate(
        "a fox", references=[(drawing, 0.6)], aspect_ratio="16:9", seed=7, on_progress=steps.append
    )
    with Image.open(picture.save(tmp_path / "new" / "fox.png")) as image:
        assert image.size == (1376, 768)
    told = [step.step for step in steps]
    assert told[0] == 1
    assert told == sorted(set(told))
    details = client.jobs.details(picture.job.job_id)
    assert (details.seed, details.cost) == (7, "0.035")


def test_a_start_picture_is_uploaded_and_painted_over(client: Client, drawing: Path) -> None:
    picture = client.generate("a fox", image=drawing, strength=0.6, intensity=40, complexity=-5, movement=100)
    details = client.jobs.details(picture.job.job_id)
    assert (details.details["start"], details.cost) == (True, "0.03")


def test_the_async_client_does_the_same(served: Served, drawing: Path) -> None:
    async def paint() -> tuple[easel.Picture, easel.JobDetails]:
        async with AsyncClient(served.token, served.url) as client:
            picture = await client.generate(
                "a fox", references=[drawing], image=drawing, model="medium-turbo", seed=7
            )
            return picture, await client.jobs.details(picture.job.job_id)

    picture, details = asyncio.run(paint())
    assert picture.content.startswith(b"\x89PNG")
    assert (details.variant, details.cost) == ("medium-turbo", "0.0175")
    assert details.details["start"]


def test_the_same_seed_paints_the_same_bytes(client: Client) -> None:
    one, two = (client.generate("a fox", seed=11) for _ in range(2))
    assert one.content == two.content


def test_a_job_whose_answer_is_lost_is_asked_for_again_and_is_the_same(api: Api) -> None:
    async def submitted(url: str) -> Job:
        async with AsyncClient(api.token, url) as client:
            return await client.submit("a fox")

    with losing_an_answer(api.url, break_now) as way, Client(api.token, way.url) as client:
        one = client.submit("a fox")
    with losing_an_answer(api.url, break_now) as way:
        two = asyncio.run(submitted(way.url))
    assert [job["job_id"] for job in listed(api)] == [str(two.job_id), str(one.job_id)]


def test_a_training_and_a_board_whose_answers_are_lost_are_asked_for_again_and_are_the_same(api: Api) -> None:
    pictures = [data_uri(data) for data in colours(3)]

    async def made(url: str) -> tuple[Job, Moodboard]:
        async with AsyncClient(api.token, url) as client:
            job = await client.styles.train("woodcuts", pictures)
            way.lost.clear()
            return job, await client.moodboards.create("woodcuts", pictures)

    with losing_an_answer(api.url, break_now) as way, Client(api.token, way.url) as client:
        job = client.styles.train("woodcuts", pictures)
        way.lost.clear()
        board = client.moodboards.create("woodcuts", pictures)
    with losing_an_answer(api.url, break_now) as way:
        other_job, other_board = asyncio.run(made(way.url))
    jobs = [other_board.job_id, other_job.job_id, board.job_id, job.job_id]
    assert [job["job_id"] for job in listed(api)] == list(map(str, jobs))
    boards = api.client.get("/moodboards").json()["items"]
    assert [one["id"] for one in boards] == [str(other_board.id), str(board.id)]


def test_an_interrupted_submit_leaves_no_job(api: Api) -> None:
    async def interrupted(url: str) -> None:
        async with AsyncClient(api.token, url) as client:
            asking = asyncio.create_task(client.submit("a fox"))
            await asyncio.to_thread(way.lost.wait)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

    with losing_an_answer(api.url, wait) as way:
        asyncio.run(interrupted(way.url))
    assert [job["status"] for job in listed(api)] == ["cancelled"]


def test_an_interrupted_generate_leaves_no_job(api: Api) -> None:
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    def work() -> None:
        while not (jobs := listed(api)):
            time.sleep(0.02)
        claim, _ = api.begin(jobs[0])
        api.step(claim, 1)

    worker = threading.Thread(target=work)
    worker.start()
    with Client(api.token, api.url) as client, pytest.raises(KeyboardInterrupt):
        client.generate("a fox", on_progress=interrupt)
    worker.join()
    assert [job["status"] for job in listed(api)] == ["cancelled"]


def test_an_async_generate_that_takes_too_long_leaves_no_job(api: Api) -> None:
    async def interrupted() -> None:
        async with AsyncClient(api.token, api.url) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.generate("a fox"), 0.5)

    asyncio.run(interrupted())
    assert [job["status"] for job in listed(api)] == ["cancelled"]


def listed(api: Api) -> list[dict[str, str]]:
    return api.client.get("/jobs").json()["items"]


def test_a_cancelled_job_raises_and_reads_cancelled(client: Client) -> None:
    job = client.submit("a fox")
    client.jobs.cancel(job.job_id)
    with pytest.raises(errors.Cancelled):
        client.wait(job)
    assert client.jobs.get(job.job_id).status == "cancelled"


def test_jobs_are_listed_a_page_at_a_time(client: Client) -> None:
    jobs = [client.submit("a fox", seed=1) for _ in range(3)]
    first = client.jobs.list(limit=2)
    second = client.jobs.list(limit=2, cursor=first.next_cursor)
    listed = [job.job_id for job in first.items + second.items][:3]
    assert listed == [job.job_id for job in reversed(jobs)]


def test_an_asset_is_uploaded_listed_and_deleted(client: Client, drawing: Path) -> None:
    asset = client.assets.upload(drawing, "teal")
    assert (asset.width, asset.height, asset.mime_type, asset.description) == (64, 48, "image/png", "teal")
    assert client.assets.list(limit=1).items == [asset] == [client.assets.get(asset.id)]
    client.assets.delete(asset.id)
    with pytest.raises(errors.NotFound):
        client.assets.get(asset.id)


def test_a_moodboard_is_made_used_changed_and_deleted(client: Client, drawing: Path) -> None:
    board = client.moodboards.create("prints", [drawing])
    *steps, job = client.jobs.follow(board.job_id)
    assert (len(steps), job.result) == (1, Result(moodboard_id=board.id))
    board = client.moodboards.get(board.id)
    assert client.moodboards.list(limit=1).items == [board]
    assert (board.analysed, board.keywords) == (True, ["flat"])

    picture = client.generate("a fox", moodboards=[(board.id, 0.5)])
    details = client.jobs.details(picture.job.job_id)
    assert (details.cost, details.details["moodboard"]["strength"]) == ("0.04", 0.5)

    assert client.moodboards.update(board.id, keywords=["linocut"]).keywords == ["linocut"]
    assert client.moodboards.update(board.id, keywords=None, pictures=board.urls).keywords == ["flat"]
    client.moodboards.delete(board.id)
    with pytest.raises(errors.Unprocessable, match=str(board.id)):
        client.submit("a fox", moodboards=[board.id])


def test_a_style_is_trained_used_changed_shared_and_deleted(client: Client, tmp_path: Path) -> None:
    pictures = three(tmp_path)
    steps: list[Progress] = []
    job = client.styles.train("prints", pictures, trigger_word="woodcut", max_train_steps=2)
    style = client.styles.trained(job, steps.append)
    assert [step.step for step in steps] == [1, 2, 3, 4, 5]
    assert (style.title, style.prompt, style.models) == ("prints", "woodcut", ["k2"])
    assert client.styles.list(ids=[style.id], filter="user").items == [style] == [client.styles.get(style.id)]

    picture = client.generate("a fox", styles=[(style.id, 0.5)])
    told = client.jobs.details(picture.job.job_id).details
    assert told["styles"] == {"3 pictures, 2 steps": 0.5}

    assert client.styles.update(style.id, title="others").title == "others"
    assert client.styles.share_link(style.id).is_new
    assert client.styles.share(style.id).workspace.is_default
    assert client.styles.unshare(style.id).success
    client.styles.delete(style.id)
    with pytest.raises(errors.Unprocessable, match=style.id):
        client.submit("a fox", styles=[style.id])
    with pytest.raises(errors.BadRequest, match="at least 3"):
        client.styles.train("prints", pictures[:2])


def three(folder: Path) -> list[Path]:
    """Pictures to train on."""
    paths = [folder / f"{colour}.png" for colour in ("red", "green", "blue")]
    for path in paths:
        Image.new("RGB", (64, 48), path.stem).save(path)
    return paths


def test_the_async_client_has_styles_too(served: Served, tmp_path: Path) -> None:
    async def story() -> None:
        async with AsyncClient(served.token, served.url) as client:
            job = await client.styles.train("prints", three(tmp_path), max_train_steps=1)
            style = await client.styles.trained(job)
            await client.generate("a fox", styles=[style.id])
            assert (await client.styles.update(style.id, public=False)).id == style.id
            assert (await client.styles.list(limit=1)).items[0].id == style.id
            assert (await client.styles.share_link(style.id)).is_new
            assert (await client.styles.share(style.id)).success
            assert (await client.styles.unshare(style.id)).success
            await client.styles.delete(style.id)
            with pytest.raises(errors.NotFound):
                await client.styles.get(style.id)

    asyncio.run(story())


def test_the_async_client_has_moodboards_too(served: Served, drawing: Path) -> None:
    async def story() -> None:
        async with AsyncClient(served.token, served.url) as client:
            board = await client.moodboards.create("prints", [drawing])
            picture = await client.generate("a fox", moodboards=[board.id])
            assert (await client.jobs.details(picture.job.job_id)).cost == "0.04"
            assert (await client.moodboards.update(board.id, name="others")).name == "others"
            assert (await client.moodboards.list(limit=1)).items[0].id == board.id
            await client.moodboards.delete(board.id)
            with pytest.raises(errors.NotFound):
                await client.moodboards.get(board.id)

    asyncio.run(story())


def test_what_the_server_refuses_is_raised_with_its_words(client: Client) -> None:
    with pytest.raises(errors.BadRequest, match="prompt"):
        client.generate("")
    with pytest.raises(errors.NotFound):
        client.jobs.get(uuid4())


def test_of_several_files_the_one_that_is_no_picture_is_named(client: Client, drawing: Path) -> None:
    notes = drawing.with_name("notes.txt")
    notes.write_text("a fox")
    with pytest.raises(errors.BadRequest, match=r"^file 'notes.txt': The bytes are no picture; send JPEG"):
        client.submit("a fox", references=[drawing, (notes, 0.5)])


def test_a_wrong_token_is_unauthorized(served: Served) -> None:
    with Client(f"{uuid4()}:nonsense", served.url) as client, pytest.raises(errors.Unauthorized):
        client.jobs.list()


def test_a_server_that_does_not_run_is_unreachable() -> None:
    with (
        Client("token", "http://127.0.0.1:9") as client,
        pytest.raises(errors.Unreachable, match=":9 does not"),
    ):
        client.jobs.list()


def test_without_a_server_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KREA_BASE_URL", raising=False)
    monkeypatch.setenv("EASEL_DATA", str(tmp_path))
    with pytest.raises(errors.Unreachable, match="easel serve"):
        Client()


def test_a_server_that_does_not_stream_is_asked_until_the_job_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Krea's own statuses, and no events route."""
    monkeypatch.setattr(calls, "PAUSE", 0)
    statuses = iter(["backlogged", "scheduled", "sampling", "completed"])

    def krea(request: httpx.Request) -> httpx.Response:
        if request.url.host == "files.test":
            assert "Authorization" not in request.headers
            return httpx.Response(200, content=b"PNG")
        if request.url.path.endswith("/events"):
            return httpx.Response(404, json={"error": "Not found", "message": "Not found"})
        return httpx.Response(200, json=job(next(statuses)))

    with mocked(krea) as client:
        assert client.generate("a fox").content == b"PNG"


def test_a_failed_job_raises_what_the_server_says() -> None:
    error = {"code": "reference_unreadable", "message": "It is no picture."}
    with (
        mocked(lambda request: httpx.Response(200, json=job("failed") | {"error": error})) as client,
        pytest.raises(errors.ReferenceUnreadable, match="It is no picture"),
    ):
        client.generate("a fox")


def test_a_server_that_restarts_or_is_asked_too_often_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PAUSE", 0)
    answers = iter([503, 429, 200])

    def restarting(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            raise httpx.ConnectError("refused")
        return httpx.Response(next(answers), json=job("cancelled"))

    with mocked(restarting) as client:
        assert list(client.jobs.follow(UUID(int=1))) == [easel.Job.model_validate(job("cancelled"))]


def test_events_are_read_line_by_line() -> None:
    reader = EventReader()
    lines = ["id: 4", "event: progress", "data: one", "data: two", ": a comment", "", "data:three", ""]
    assert [event for line in lines if (event := reader.feed(line))] == [
        Event("progress", "one\ntwo", "4"),
        Event("message", "three", "4"),
    ]


def job(status: str) -> dict[str, object]:
    ended = status in ("completed", "failed", "cancelled")
    return {
        "job_id": str(UUID(int=1)),
        "status": status,
        "created_at": "2026-02-13T02:20:58.265Z",
        "completed_at": "2026-02-13T02:21:58.265Z" if ended else None,
        "result": {"urls": ["https://files.test/fox.png"]} if status == "completed" else None,
    }


@contextmanager
def mocked(server: Callable[[httpx.Request], httpx.Response]) -> Iterator[Client]:
    """A client whose far end is a function."""
    with Client("token", "https://krea.test") as client:
        client.http.close()
        client.http = httpx.Client(
            base_url=client.server.url, auth=client.server.sign, transport=httpx.MockTransport(server)
        )
        yield client
