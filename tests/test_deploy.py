"""What stands in deploy/, held against the code. Alone: python -m pytest tests/test_deploy.py"""

import asyncio
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import typer
import yaml
from answering import answering
from at_work import BASE
from databases import fresh_database, opened
from sqlalchemy import text

from easel.api.routes import PUBLIC
from easel.catalog import MODELS
from easel.cli.main import app
from easel.schema.generation import GenerationRequest
from easel.settings import Settings
from easel.store import claims, ends, queue, submits, workspaces
from easel.store.askers import Asker
from easel.store.database import Database

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
CLUSTER = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
PAGES = [*sorted(DEPLOY.iterdir()), ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
AN_ID = "00000000-0000-0000-0000-000000000000"
PORT = Settings.model_fields["port"].default


def of_kind(kind: str) -> dict[str, Any]:
    """The specifications of the cluster's resources of this kind, by name."""
    return {one["metadata"]["name"]: one.get("spec", one) for one in CLUSTER if one["kind"] == kind}


def containers() -> dict[str, Any]:
    return {
        name: deployment["template"]["spec"]["containers"][0]
        for name, deployment in of_kind("Deployment").items()
    }


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of easel's, with where it stands."""
    yield "Dockerfile", json.loads(re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)[-1])
    for name, service in COMPOSE["services"].items():
        if service["image"].startswith("easel"):
            yield name, service["command"]
    for name, container in containers().items():
        yield name, container["args"]
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
            for line in re.findall(r"\beasel ([a-z].*)", block):
                yield page.name, shlex.split(line.split(")")[0].replace("$ID", AN_ID), comments=True)


def painted(arguments: list[str]) -> list[str]:
    """The variants that a worker with these arguments paints."""
    named = arguments[arguments.index("--variants") + 1] if "--variants" in arguments else ""
    return list(Settings(variants=named).painted)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_is_named_is_one(page: Path) -> None:
    named = set(re.findall(r"\bEASEL_[A-Z_]*[A-Z]\b", page.read_text()))
    assert named <= {f"EASEL_{field.upper()}" for field in Settings.model_fields}


@pytest.mark.parametrize(("place", "arguments"), [*commands()], ids=lambda value: str(value))
def test_every_command_is_one_with_its_options(place: str, arguments: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name, *arguments = arguments
        assert name in command.commands, place
        command = command.commands[name]
    command.make_context(name, arguments).close()


def test_compose_sets_up_what_the_settings_accept(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in COMPOSE["services"].values():
        for name, value in service["environment"].items() if service["image"] == "easel" else ():
            monkeypatch.setenv(name, re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", value))
    settings = Settings()
    assert settings.blobs_url == "file:///data/pictures"
    assert (settings.database_url or "").endswith("@database:5432/easel")
    assert (settings.models, settings.billing) == ("nano", "off")


def test_ports_and_probes_are_those_of_the_api() -> None:
    routes = {route.path for route in PUBLIC if route.method == "GET"}
    assert f"EASEL_PORT={PORT}" in DOCKERFILE
    assert f"EXPOSE {PORT}\n" in DOCKERFILE
    services = COMPOSE["services"]
    assert services["proxy"]["command"][-1] == f"api:{PORT}"
    assert services["proxy"]["ports"] == [f"{PORT}:{PORT}"]
    api = containers()["easel-api"]
    [port] = api["ports"]
    assert port["containerPort"] == PORT
    assert of_kind("Service")["easel"]["ports"][0]["targetPort"] == port["name"]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert api[kind]["httpGet"]["port"] == port["name"]
        assert api[kind]["httpGet"]["path"] in routes


def test_the_health_check_passes_where_the_api_answers_and_not_elsewhere(
    postgres: str, tmp_path: Path
) -> None:
    [written] = re.findall(r"HEALTHCHECK .*?CMD (\[.*\])", DOCKERFILE)
    _, *arguments = json.loads(written)

    def checked(address: str) -> int:
        asked = [argument.replace(f"127.0.0.1:{PORT}", address) for argument in arguments]
        return subprocess.run([sys.executable, *asked], capture_output=True).returncode

    with answering(fresh_database(postgres), tmp_path) as api:
        assert checked(api.url.removeprefix("http://")) == 0
    assert checked("127.0.0.1:9") != 0


def test_the_image_holds_what_it_is_built_from_and_no_root() -> None:
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().split() if line[0] == "!"}
    copied = {
        source for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for source in line.split()
    }
    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)
    assert re.search(r"^USER [1-9]\d*$", DOCKERFILE, re.MULTILINE)
    for deployment in of_kind("Deployment").values():
        assert deployment["template"]["spec"]["securityContext"]["runAsNonRoot"]


def test_images_are_named_without_a_registry() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    images += [service["image"] for service in COMPOSE["services"].values()]
    images += [container["image"] for container in containers().values()]
    assert all(re.fullmatch(r"[a-z-]+(:[\w.-]+)?", image) for image in images)


def test_every_model_is_painted_in_each_set_up() -> None:
    for profile in ("nano", "krea"):
        fleet = [one["command"] for one in COMPOSE["services"].values() if profile in one.get("profiles", [])]
        assert sorted(variant for command in fleet for variant in painted(command)) == sorted(MODELS)
    fleet = [one["args"] for one in containers().values() if one["args"][0] == "work"]
    assert sorted(variant for command in fleet for variant in painted(command)) == sorted(MODELS)


def test_what_ends_with_an_error_is_started_again() -> None:
    assert {service["restart"] for service in COMPOSE["services"].values()} == {"unless-stopped"}
    for deployment in of_kind("Deployment").values():  # whose pods are always started again
        assert deployment["template"]["spec"].get("restartPolicy", "Always") == "Always"


def test_what_the_cluster_names_is_there() -> None:
    for name, scaled in of_kind("ScaledObject").items():
        assert scaled["scaleTargetRef"]["name"] == name
        assert name in of_kind("Deployment")
    [authentication] = of_kind("TriggerAuthentication").values()
    [secret] = authentication["secretTargetRef"]
    [written] = [one["stringData"] for one in CLUSTER if one["kind"] == "Secret"]
    assert secret["key"] in written
    [claim] = of_kind("PersistentVolumeClaim")
    for name, deployment in of_kind("Deployment").items():
        assert deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
        for volume in deployment["template"]["spec"].get("volumes", []):
            assert volume["persistentVolumeClaim"]["claimName"] == claim, name
    [selected] = [service["selector"] for service in of_kind("Service").values()]
    assert selected == of_kind("Deployment")["easel-api"]["selector"]["matchLabels"]


def test_workers_are_scaled_by_the_jobs_that_they_can_paint(database_url: str) -> None:
    queries = {
        name: scaled["triggers"][0]["metadata"]["query"] for name, scaled in of_kind("ScaledObject").items()
    }

    async def depths(database: Database) -> list[Any]:
        async with database.read() as connection:
            return [await connection.scalar(text(queries[name])) for name in sorted(queries)]

    async def story() -> None:
        async with opened(database_url) as database:
            assert await depths(database) == [0, 0]
            workspace = await workspaces.default(database)
            fox = GenerationRequest(prompt="a fox")
            for variant, count in {"large": 2, "medium": 3, "medium-turbo": 4}.items():
                for _ in range(count):
                    await submits.submit(database, Asker(workspace, BASE), variant, fox)
            async with database.begin() as connection:
                for entrypoint in (queue.ANALYSE, queue.TRAIN, queue.DELIVER):
                    await queue.add(connection, entrypoint, uuid4())
            assert await depths(database) == [2 + 1, 3 + 4 + 1]
            await queue.take(database, ["large"], uuid4(), 1)
            assert await depths(database) == [3, 8], "what is being painted keeps its worker"
            [entry] = await queue.take(database, ["large"], uuid4(), 1)
            claim = await claims.claim(database, entry.row)
            assert claim is not None
            await ends.fail(database, claim, entry, code="timeout", message="")
            assert await depths(database) == [2, 8]

    asyncio.run(story())
    assert sorted(queries) == ["easel-worker-large", "easel-worker-turbo"]
    for name, query in queries.items():
        variants = painted(containers()[name]["args"])
        trains = Settings(models="krea", variants=",".join(variants)).trains
        held = {*variants, *([queue.TRAIN] if trains else [])}
        assert held == {line for line in (*MODELS, queue.TRAIN) if f"'{line}'" in query}
