"""`easel generate`: ask a server for one picture, watch it being painted, keep it."""

import json
import re
import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from easel.cli.local import start_local_server
from easel.cli.output import remarks, results, say
from easel.cli.waiting import INTERRUPTED, cancelling, say_waiting
from easel.errors import NotFound
from easel.schema import jobs
from easel.schema.generation import DENOISED, AspectRatio, Creativity
from easel.sdk.calls import Board, Reference, TrainedStyle, Variant, Wishes, is_address
from easel.sdk.client import Client
from easel.sdk.pictures import Picture
from easel.sdk.server import is_named, local


def generate(
    prompt: Annotated[str, typer.Argument(help="What to paint.")],
    reference: Annotated[
        list[str],
        typer.Option(
            "--reference", "-r", help="A picture whose look to take, file or URL; ':0.6' sets its strength."
        ),
    ] = [],  # noqa: B006
    style: Annotated[
        list[str],
        typer.Option("--style", "-s", help="A trained style to paint in, by id; ':0.8' sets its strength."),
    ] = [],  # noqa: B006
    moodboard: Annotated[
        str | None,
        typer.Option(
            "--moodboard", "-m", help="A moodboard whose direction to take, by id; ':0.5' sets its strength."
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", "-i", help="A picture to start from, file or URL.")
    ] = None,
    strength: Annotated[
        float, typer.Option(min=0, max=1, help="How much of that picture is painted anew.")
    ] = DENOISED,
    intensity: Annotated[int, typer.Option(min=-100, max=100, help="How strong colours and marks are.")] = 0,
    complexity: Annotated[int, typer.Option(min=-100, max=100, help="How much there is to see.")] = 0,
    movement: Annotated[int, typer.Option(min=-100, max=100, help="How much the scene moves.")] = 0,
    aspect: Annotated[AspectRatio, typer.Option(help="Width to height.")] = "1:1",
    creativity: Annotated[Creativity, typer.Option(help="How far the prompt is expanded.")] = "medium",
    seed: Annotated[int | None, typer.Option(min=0, help="For the same picture again.")] = None,
    model: Annotated[Variant, typer.Option(help="Which model paints.")] = "medium",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to keep the PNG.", show_default="easel-<job>.png"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was made as JSON, and no progress.")
    ] = False,
) -> None:
    """Paint a picture.

    Asks the server that KREA_BASE_URL and KREA_API_KEY name;
    without them the one of this machine, which is started if none runs.
    """
    references = [read_reference(text) for text in reference]
    styles = [read_style(text) for text in style]
    moodboards = [read_moodboard(moodboard)] if moodboard else []
    wishes: Wishes = {
        "aspect_ratio": aspect,
        "creativity": creativity,
        "seed": seed,
        "intensity": intensity,
        "complexity": complexity,
        "movement": movement,
        "strength": strength,
    }
    if image:
        check_source(image, "--image")
    if not is_named() and not local():
        start_local_server()
    with Client() as client:
        try:
            job = client.submit(
                prompt,
                references=references,
                styles=styles,
                moodboards=moodboards,
                image=image,
                model=model,
                **wishes,
            )
        except KeyboardInterrupt:  # no job is left
            say("Cancelled.")
            sys.exit(INTERRUPTED)
        with cancelling(client, job.job_id):
            picture = client.wait(job, on_wait=say_waiting) if as_json else watch(client, job)
        path = picture.save(output or f"easel-{str(job.job_id)[:8]}.png")
        report = describe(client, picture) | {"path": str(path)}
    results.print(json.dumps(report) if as_json else summary(report), markup=False)


def read_reference(text: str) -> Reference:
    """'a.png:0.6' as file and strength."""
    match = re.fullmatch(r"(?s)(.*?)(?::(-?\d*\.?\d+))?", text)
    assert match, text
    source, strength = match.groups()
    check_source(source, "--reference")
    return (source, float(strength)) if strength else source


def check_source(source: str, option: str) -> None:
    if not is_address(source) and not Path(source).is_file():
        raise typer.BadParameter(f"There is no file {source!r}.", param_hint=option)


def read_style(text: str) -> TrainedStyle:
    """'<id>:0.8' as id and strength."""
    written, _, strength = text.partition(":")
    try:
        return (written, float(strength)) if strength else written
    except ValueError:
        told = f"{text!r} is no style: write its id, as `easel style list` shows it, or id:0.8"
        raise typer.BadParameter(told, param_hint="--style") from None


def read_moodboard(text: str) -> Board:
    """'<id>:0.5' as id and strength."""
    written, _, strength = text.partition(":")
    try:
        return (UUID(written), float(strength)) if strength else UUID(written)
    except ValueError:
        told = f"{text!r} is no moodboard: write its id, as `easel moodboard list` shows it, or id:0.5"
        raise typer.BadParameter(told, param_hint="--moodboard") from None


def watch(client: Client, job: jobs.Job) -> Picture:
    """Wait for the picture of `job` with a progress bar that counts steps and previews."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=remarks, transient=True) as bar:
        task = bar.add_task("waiting", total=None, count="")
        previews = 0

        def show(progress: jobs.Progress) -> None:
            nonlocal previews
            previews += progress.preview is not None
            count = f"step {progress.step} of {progress.total} · previews: {previews}"
            bar.update(
                task, description="painting", completed=progress.step, total=progress.total, count=count
            )

        return client.wait(job, show, say_waiting)


def describe(client: Client, picture: Picture) -> dict[str, str | int | float | None]:
    """What there is to say of `picture`; a server that is no easel tells less."""
    job = picture.job
    report: dict[str, str | int | float | None] = {"job_id": str(job.job_id), "url": picture.url}
    assert job.completed_at
    report["seconds"] = round((job.completed_at - job.created_at).total_seconds(), 2)
    try:
        details = client.jobs.details(job.job_id)
    except NotFound:
        return report
    return report | {"seed": details.seed, "cost_usd": details.cost, "prompt": details.expanded_prompt}


def summary(report: dict[str, str | int | float | None]) -> str:
    """The report in one line."""
    parts = [f"{report['path']}", f"{report['seconds']} s"]
    if "seed" in report:
        parts += [f"seed {report['seed']}", f"${report['cost_usd']}"]
    return " · ".join(parts)
