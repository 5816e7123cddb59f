"""`easel token`: who may use this server."""

from typing import Annotated
from uuid import UUID

import typer
from rich.table import Table

from easel.cli.database import with_database
from easel.cli.output import results, say

token = typer.Typer(help="Make, list and revoke the tokens that open the API.", no_args_is_help=True)


@token.command()
def create(name: Annotated[str, typer.Argument(help="Who or what it is for.")]) -> None:
    """Make a token and print it: it cannot be read again."""
    from easel.store import tokens

    results.print(with_database(lambda database: tokens.create(database, name)), markup=False)


@token.command("list")
def list_() -> None:
    """Show all tokens, without their secrets."""
    from easel.store import tokens

    table = Table("id", "name", "made", "revoked", box=None)
    for info in with_database(tokens.listing):
        revoked = f"{info.revoked_at:%Y-%m-%d %H:%M}" if info.revoked_at else ""
        table.add_row(str(info.id), info.name, f"{info.created_at:%Y-%m-%d %H:%M}", revoked)
    results.print(table)


@token.command()
def revoke(
    token_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `easel token list` shows it.")],
) -> None:
    """End a token, at once."""
    from easel.store import tokens

    with_database(lambda database: tokens.revoke(database, token_id))
    say(f"Revoked {token_id}.")
