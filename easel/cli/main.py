"""The `easel` command: its verbs, and how its errors end.

Exit codes: 0 done · 1 the job failed or was cancelled · 2 wrong usage or a request that the server refuses
· 3 no server reached, or the token is not known there · 130 interrupted.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from easel.cli.account import account
from easel.cli.doctor import doctor
from easel.cli.generate import generate
from easel.cli.models import models
from easel.cli.moodboard import moodboard
from easel.cli.output import say
from easel.cli.settings import Models, settings_with
from easel.cli.style import style
from easel.cli.token import token
from easel.cli.webhooks import webhooks
from easel.errors import (
    BadRequest,
    EaselError,
    PaymentRequired,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unprocessable,
    Unreachable,
)

USAGE, UNREACHED = 2, 3

app = typer.Typer(
    name="easel",
    help="Krea 2 on your own machines.",
    epilog="Exit codes: 0 done · 1 failed · 2 wrong usage · 3 no server or wrong token · 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(generate)
app.command()(doctor)
app.add_typer(moodboard, name="moodboard")
app.add_typer(models, name="models")
app.add_typer(style, name="style")
app.add_typer(account, name="account")
app.add_typer(token, name="token")
app.add_typer(webhooks, name="webhooks")


def main() -> None:
    """Run the command; an error of ours ends it with one line and an exit code."""
    try:
        app()
    except ModuleNotFoundError as error:
        say(f"easel: {error.name} is not installed: pip install 'easel[server,worker]'")
        sys.exit(USAGE)
    except EaselError as error:
        say(f"easel: {error.message}")
        sys.exit(exit_code(error))
    except OSError as error:
        say(f"easel: {error}")
        sys.exit(1)


def exit_code(error: EaselError) -> int:
    """What `error` means to a script."""
    match error:
        case BadRequest() | Unprocessable() | PaymentRequired() | TooManyRequests():
            return USAGE
        case Unreachable() | Unavailable() | Unauthorized():
            return UNREACHED
        case _:
            return 1


@app.command()
def serve(
    port: Annotated[
        int | None, typer.Option(help="Where to listen; 0 takes a free one.  [EASEL_PORT]")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Write url and token there as JSON once everything is ready.")
    ] = None,
    models: Models = None,
) -> None:
    """Run everything on this machine: database, API and one worker."""
    from easel.serve import serve

    serve(settings_with(port=port, models=models), ready_file)


@app.command()
def api(
    port: Annotated[int | None, typer.Option(help="Where to listen.  [EASEL_PORT]")] = None,
) -> None:
    """Run one API process, on the database that EASEL_DATABASE_URL names."""
    from easel.serve import api

    api(settings_with(port=port))


@app.command()
def work(
    models: Models = None,
    device: Annotated[
        str | None,
        typer.Option(help="Where Krea's weights paint: cuda:1; cuda:0,cuda:1 both.  [EASEL_DEVICE]"),
    ] = None,
    variants: Annotated[
        str | None, typer.Option(help="What it paints: medium,large; all by default.  [EASEL_VARIANTS]")
    ] = None,
) -> None:
    """Run one worker, on the database that EASEL_DATABASE_URL names."""
    from easel.work import work

    work(settings_with(models=models, device=device, variants=variants))
