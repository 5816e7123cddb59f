"""`easel style`: looks that are trained from pictures, or imported."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from easel.cli.local import start_local_server
from easel.cli.output import remarks, results, say, show
from easel.cli.settings import settings_with
from easel.cli.store import with_workspace
from easel.cli.waiting import cancelling, say_waiting
from easel.schema.jobs import Progress
from easel.schema.styles import FEWEST_PICTURES, MOST_PICTURES, TrainedModel
from easel.sdk import calls
from easel.sdk.client import Client
from easel.sdk.server import is_named, local

if TYPE_CHECKING:
    from easel.store.database import Database

style = typer.Typer(
    help="Train, import, list, show and delete styles: looks learnt from pictures.", no_args_is_help=True
)

StyleId = Annotated[str, typer.Argument(metavar="ID", help="As `easel style list` shows it.")]


@style.command()
def train(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    pictures: Annotated[
        list[str], typer.Argument(help=f"{FEWEST_PICTURES} to {MOST_PICTURES:,} pictures: files or URLs.")
    ],
    model: Annotated[
        TrainedModel, typer.Option(help="What it is for: k2 is medium and medium-turbo, k2-large is large.")
    ] = "k2",
    trigger_word: Annotated[str, typer.Option(help="A word that stands for the style in prompts.")] = "",
    steps: Annotated[int | None, typer.Option(min=1, max=2000, help="How many steps are taken.")] = None,
) -> None:
    """Train a style, wait until it is done, and print its id."""
    for source in pictures:
        if not calls.is_address(source) and not Path(source).is_file():
            raise typer.BadParameter(f"There is no file {source!r}.", param_hint="PICTURES")
    with _client() as client, remarks.status("sending the pictures") as status:

        def told(progress: Progress) -> None:
            step, steps = progress.step - len(pictures), progress.total - len(pictures)
            status.update(f"step {step} of {steps}" if step > 0 else f"reading picture {progress.step}")

        wishes: calls.Training = {"model": model, "trigger_word": trigger_word}
        if steps is not None:
            wishes["max_train_steps"] = steps
        job = client.styles.train(name, pictures, **wishes)
        with cancelling(client, job.job_id):
            made = client.styles.trained(job, told, say_waiting)
    results.print(made.id)


@style.command("list")
def list_() -> None:
    """Show all styles that you may paint with, newest first."""
    with _client() as client:
        found = client.styles.list(limit=1000).items
    rows = [(s.id, s.title, s.models[0], "yes" if s.public else "no", s.created_at) for s in found]
    show(["id", "title", "model", "public", "made"], rows)


@style.command("show")
def show_one(style_id: StyleId) -> None:
    """Show a style."""
    with _client() as client:
        found = client.styles.get(style_id)
    told = {
        found.title: f"for {found.models[0]}{', public' if found.public else ''}",
        "trigger word": found.prompt,
        "pictures": " ".join(found.urls),
    }
    results.print("\n".join(f"{name}: {text}" for name, text in told.items() if text), markup=False)


@style.command()
def delete(style_id: StyleId) -> None:
    """Delete a style and its adapter."""
    with _client() as client:
        client.styles.delete(style_id)
    say(f"Deleted {style_id}.")


@style.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A LoRA or LoKr, as .safetensors.")],
    name: Annotated[str | None, typer.Option(help="What it is called; the file's name by default.")] = None,
    model: Annotated[
        TrainedModel | None, typer.Option(help="What it is for, where the file does not say so.")
    ] = None,
    trigger_word: Annotated[str | None, typer.Option(help="A word that stands for the style.")] = None,
    workspace: Annotated[
        str | None, typer.Option(help="Whose it is; the first workspace by default.")
    ] = None,
) -> None:
    """Add a style from a LoRA file to the database that the settings name, and print its id."""
    from easel.ids import new_id
    from easel.store import styles
    from easel.store.opening import open_blobs
    from easel.style.imports import examined

    data = file.read_bytes()
    settings = settings_with()
    found = examined(data, settings, model)
    new = styles.NewStyle(
        id=new_id(),
        title=name or found.title or file.stem,
        model=found.model,
        trigger_word=found.trigger_word if trigger_word is None else trigger_word,
    )

    async def keep(database: "Database", workspace_id: UUID) -> None:
        blobs = open_blobs(settings)
        await blobs.put(new.key, data)
        try:
            await styles.add(database, workspace_id, new)
        except BaseException:
            await blobs.delete(new.key)
            raise

    with_workspace(workspace, keep)
    results.print(new.id)


def _client() -> Client:
    if not is_named() and not local():
        start_local_server()
    return Client()
