"""`easel token`: who may use this server."""

from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from easel.cli.output import results, say, show
from easel.cli.store import with_database, with_workspace

token = typer.Typer(help="Make, list and revoke the tokens that open the API.", no_args_is_help=True)


@token.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what it is for.")],
    workspace: Annotated[
        str | None, typer.Option(help="Whose pictures it opens.", show_default="the first")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36500, help="How long it is valid.", show_default="for ever")
    ] = None,
) -> None:
    """Make a token and print it: it cannot be read again."""
    from easel.store import tokens

    expires_at = datetime.now(UTC) + timedelta(days) if days else None
    made = with_workspace(workspace, lambda database, its: tokens.create(database, its, name, expires_at))
    results.print(made, markup=False)


@token.command("list")
def list_() -> None:
    """Show all tokens, without their secrets."""
    from easel.store import tokens

    columns = ["id", "workspace", "name", "made", "last used", "expires", "revoked"]
    show(columns, [astuple(info) for info in with_database(tokens.listing)])


@token.command()
def revoke(
    token_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `easel token list` shows it.")],
) -> None:
    """End a token, at once."""
    from easel.store import tokens

    with_database(lambda database: tokens.revoke(database, token_id))
    say(f"Revoked {token_id}.")
