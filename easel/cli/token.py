"""`easel token`: who may use this server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import typer
from rich.table import Table

from easel.cli.output import results, say
from easel.cli.settings import settings_with

if TYPE_CHECKING:
    from easel.store.database import Database

Answer = TypeVar("Answer")

token = typer.Typer(help="Make, list and revoke the tokens that open the API.", no_args_is_help=True)


@token.command()
def create(name: Annotated[str, typer.Argument(help="Who or what it is for.")]) -> None:
    """Make a token and print it: it cannot be read again."""
    from easel.store import tokens

    results.print(_with_database(lambda database: tokens.create(database, name)), markup=False)


@token.command("list")
def list_() -> None:
    """Show all tokens, without their secrets."""
    from easel.store import tokens

    table = Table("id", "name", "made", "revoked", box=None)
    for info in _with_database(tokens.listing):
        revoked = f"{info.revoked_at:%Y-%m-%d %H:%M}" if info.revoked_at else ""
        table.add_row(str(info.id), info.name, f"{info.created_at:%Y-%m-%d %H:%M}", revoked)
    results.print(table)


@token.command()
def revoke(
    token_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `easel token list` shows it.")],
) -> None:
    """End a token, at once."""
    from easel.store import tokens

    _with_database(lambda database: tokens.revoke(database, token_id))
    say(f"Revoked {token_id}.")


def _with_database(use: "Callable[[Database], Awaitable[Answer]]") -> Answer:
    from easel.store.opening import open_database

    async def run() -> Answer:
        async with open_database(settings_with()) as database:
            return await use(database)

    return asyncio.run(run())
