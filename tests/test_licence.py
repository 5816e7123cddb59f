"""What Krea's licence asks of whoever serves its weights, and what every picture says of its making.

python -m pytest tests/test_licence.py
"""

import asyncio
import io
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from at_work import painted, working
from commands import clean
from databases import opened
from PIL import Image

from easel.api.app import create_app
from easel.catalog import MODELS
from easel.cli import doctor
from easel.cli.main import app
from easel.engine.images import png
from easel.engine.null import NullPainter
from easel.errors import Unfiltered
from easel.licence import NOTICE, check_filtered
from easel.safety.guard import guard_of
from easel.safety.hosted import HostedGuard
from easel.settings import Settings
from easel.store import jobs, workspaces
from easel.store.blobs import Blobs
from easel.store.database import Database
from easel.style.painter import NanoPainter

EXIFTOOL = {  # as exiftool names the groups
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "XMP-iptcExt",
    "http://ns.adobe.com/xap/1.0/": "XMP-xmp",
}


@pytest.mark.parametrize("command", ["work", "serve"])
def test_kreas_weights_are_not_served_without_a_filter(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_SAFETY", "off")
    monkeypatch.setenv("EASEL_FILTERED_ELSEWHERE", "  ")
    with pytest.raises(Unfiltered, match=r"EASEL_SAFETY is 'off'.*EASEL_MODERATION_URL.*FILTERED_ELSEWHERE"):
        app([command, "--models", "krea"], standalone_mode=False)


def test_the_refusal_is_one_line_and_an_exit_code() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "easel", "work"],
        env=clean({"EASEL_MODELS": "krea", "EASEL_SAFETY": "off"}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 1
    assert "the licence of Krea's weights asks for a content filter" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "given",
    [
        {"models": "krea"},
        {"models": "krea", "safety": "off", "moderation_url": "https://moderation.example/v1/moderations"},
        {"models": "krea", "safety": "off", "filtered_elsewhere": "our gateway"},
        {"models": "nano", "safety": "off"},
    ],
)
def test_they_are_served_where_somebody_judges(given: dict[str, Any]) -> None:
    check_filtered(Settings(**given))


def test_a_moderation_endpoint_judges_also_where_the_filter_that_ships_is_off() -> None:
    assert isinstance(guard_of(Settings(safety="off", moderation_url="https://judge.example/")), HostedGuard)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "the filter that ships"),
        ({"safety": "off"}, "off"),
        ({"safety": "off", "filtered_elsewhere": "our gateway"}, "elsewhere: our gateway"),
    ],
)
def test_a_pictures_details_say_what_judged_it(
    database_url: str, blobs: Blobs, given: dict[str, Any], told: str
) -> None:
    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter(), **given):
            job = await painted(database)
            details = await jobs.details(database, await workspaces.default(database), job.job_id)
            assert details.details["filter"] == told

    asyncio.run(story())


def test_the_doctor_says_where_pictures_are_filtered() -> None:
    off = Settings(models="krea", safety="off", filtered_elsewhere="our gateway")
    assert doctor.safety(off) == "off here, filtered elsewhere: our gateway (EASEL_FILTERED_ELSEWHERE)"
    with pytest.raises(Unfiltered):
        doctor.safety(Settings(models="krea", safety="off"))


def test_the_notice_stands_in_the_document_of_the_api_where_krea_paints(tmp_path: Path) -> None:
    def document(models: Any) -> dict[str, Any]:
        settings = Settings(models=models, data=tmp_path)
        served = create_app(settings, Database("postgresql://nowhere/"), Blobs(tmp_path.as_uri()))
        return served.state.document  # type: ignore[no-any-return]

    krea, nano = document("krea"), document("nano")
    assert NOTICE in krea["info"].pop("description")
    assert NOTICE not in nano["info"].pop("description")
    assert krea == nano


def test_the_documentation_has_the_notice_word_for_word() -> None:
    page = (Path(__file__).parents[1] / "docs" / "krea.md").read_text()
    assert NOTICE in " ".join(page.split())


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk of a PNG."""
    at = 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def properties(data: bytes) -> dict[str, str]:
    """What exiftool would show of the XMP in a PNG: properties as elements or as attributes, by group."""
    found: list[str] = []
    for name, content in chunks(data):
        if name == b"IDAT":
            break  # readers of streams look no further
        keyword, _, rest = content.partition(b"\0")
        if name == b"iTXt" and keyword == b"XML:com.adobe.xmp":
            assert rest[:4] == b"\0\0\0\0", "not compressed, of no language, not translated"
            found.append(rest[4:].decode())
    (packet,) = found
    shown = {}
    for described in ElementTree.fromstring(packet).iter(
        "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
    ):
        values = {**described.attrib, **{child.tag: child.text or "" for child in described}}
        for tag, value in values.items():
            namespace, _, name = tag.removeprefix("{").partition("}")
            if group := EXIFTOOL.get(namespace):
                shown[f"{group}:{name}"] = value
    return shown


@pytest.mark.parametrize(("engine", "checkpoint"), [("nano", "nano-1"), ("krea", "krea-2-<&\"'>")])
def test_a_picture_says_that_a_model_made_it_and_which(engine: str, checkpoint: str) -> None:
    recipe = {"prompt": "a fox", "engine": engine, "checkpoint": checkpoint, "seed": 3}
    data = png(Image.new("RGB", (8, 8)), recipe)
    assert properties(data) == {
        "XMP-iptcExt:DigitalSourceType": (
            "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
        ),
        "XMP-iptcExt:AISystemUsed": engine,
        "XMP-iptcExt:AISystemVersionUsed": checkpoint,
        "XMP-xmp:CreatorTool": "easel",
    }
    with Image.open(io.BytesIO(data)) as image:
        assert "trainedAlgorithmicMedia" in image.text["XML:com.adobe.xmp"]
        assert image.text["prompt"] == "a fox"
        assert json.loads(image.text["easel"]) == recipe


def test_a_picture_of_the_model_that_ships_says_so_when_it_is_downloaded(
    database_url: str, blobs: Blobs, painter: NanoPainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "medium", replace(MODELS["medium"], steps=1))

    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, painter, safety="off"):
            job = await painted(database)
            assert job.result
            shown = properties(await blobs.get(job.result.urls[0].rpartition("/")[2]))
            assert shown["XMP-iptcExt:DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
            assert shown["XMP-iptcExt:AISystemUsed"] == "nano"
            assert shown["XMP-iptcExt:AISystemVersionUsed"] == painter.checkpoint

    asyncio.run(story())
