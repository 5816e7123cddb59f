"""`easel moodboard`: pictures that are read as one direction."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from easel.cli.local import start_local_server
from easel.cli.output import remarks, results, say, show
from easel.cli.waiting import cancelling, say_waiting
from easel.schema.jobs import Progress
from easel.schema.moodboards import Moodboard
from easel.sdk import calls
from easel.sdk.client import Client
from easel.sdk.server import is_named, local

moodboard = typer.Typer(
    help="Make, list, show and delete moodboards: pictures read as one direction.", no_args_is_help=True
)

MoodboardId = Annotated[UUID, typer.Argument(metavar="ID", help="As `easel moodboard list` shows it.")]


@moodboard.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    pictures: Annotated[list[str], typer.Argument(help="1 to 200 pictures: files or URLs.")],
) -> None:
    """Make a moodboard, wait until it is analysed, and print its id."""
    for source in pictures:
        if not calls.is_address(source) and not Path(source).is_file():
            raise typer.BadParameter(f"There is no file {source!r}.", param_hint="PICTURES")
    with _client() as client, remarks.status("sending the pictures") as status:

        def told(progress: Progress) -> None:
            status.update(f"reading picture {progress.step} of {progress.total}")

        made = client.moodboards.create(name, pictures)
        with cancelling(client, made.job_id):
            calls.made(client.jobs.ended(made.job_id, told, say_waiting))
        say(client.moodboards.get(made.id).taste_profile)
    results.print(made.id)


@moodboard.command("list")
def list_() -> None:
    """Show all moodboards, newest first."""
    with _client() as client:
        boards = client.moodboards.list(limit=1000).items
    rows = [(b.id, b.name, len(b.urls), "yes" if b.analysed else "no", b.created_at) for b in boards]
    show(["id", "name", "pictures", "analysed", "made"], rows)


@moodboard.command("show")
def show_one(moodboard_id: MoodboardId) -> None:
    """Show what a moodboard's analysis found."""
    with _client() as client:
        results.print(_described(client.moodboards.get(moodboard_id)), markup=False)


def _described(board: Moodboard) -> str:
    told = {
        board.name: f"{len(board.urls)} pictures, {'analysed' if board.analysed else 'not analysed'}",
        "profile": board.taste_profile,
        "keywords": ", ".join(board.keywords),
        "avoids": ", ".join(board.avoids),
        "palette": " ".join(swatch.colour for swatch in board.palette),
    }
    return "\n".join(f"{name}: {text}" for name, text in told.items() if text)


@moodboard.command()
def delete(moodboard_id: MoodboardId) -> None:
    """Delete a moodboard; assets among its pictures stay."""
    with _client() as client:
        client.moodboards.delete(moodboard_id)
    say(f"Deleted {moodboard_id}.")


def _client() -> Client:
    if not is_named() and not local():
        start_local_server()
    return Client()
