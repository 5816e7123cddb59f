"""`easel account`: workspaces, their people, and their money."""

import re
from decimal import Decimal
from typing import Annotated

import typer

from easel.cli.output import results, say, show
from easel.cli.store import with_database, with_workspace
from easel.cli.token import token
from easel.pricing import usd
from easel.schema.accounts import Role

account = typer.Typer(help="Workspaces: their members, tokens and money.", no_args_is_help=True)
member = typer.Typer(help="Add, list and remove the people of a workspace.", no_args_is_help=True)
account.add_typer(member, name="member")
account.add_typer(token, name="token")

WorkspaceName = Annotated[str, typer.Argument(metavar="WORKSPACE", help="The workspace's name.")]
PersonName = Annotated[str, typer.Argument(metavar="NAME", help="A name or an e-mail address.")]


@account.command()
def create(
    name: WorkspaceName,
    owner: Annotated[str, typer.Option(help="Its owner: a name or an e-mail address.")] = "owner",
) -> None:
    """Make a workspace: what is made in it is seen from no other."""
    from easel.store import workspaces

    with_database(lambda database: workspaces.create(database, name, owner))
    say(f"Made the workspace {name!r}; `easel account token create NAME --workspace ...` opens it.")


@account.command("list")
def list_() -> None:
    """Show all workspaces."""
    from easel.store import workspaces

    found = with_database(workspaces.listing)
    show(["id", "name", "made"], [(info.id, info.name, info.created_at) for info in found])


def _amount(text: str) -> Decimal:
    """Dollars as they are typed: exact, more than nothing, down to a millionth."""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text) or not Decimal(text):
        raise typer.BadParameter(f"{text!r} is no amount: write dollars like 25 or 0.50")
    return Decimal(text)


@account.command()
def top_up(
    workspace: WorkspaceName,
    amount: Annotated[Decimal, typer.Argument(parser=_amount, metavar="AMOUNT", help="In USD.")],
) -> None:
    """Add money to the balance of a workspace."""
    from easel.store import ledger

    with_workspace(workspace, lambda database, its: ledger.top_up(database, its, amount))
    say(f"Added {usd(amount)} USD to {workspace}.")


@account.command()
def balance(workspace: WorkspaceName) -> None:
    """Show what a workspace has, and how much of it is promised to unfinished jobs."""
    from easel.store import ledger

    found = with_workspace(workspace, ledger.balance)
    results.print(f"{usd(found.amount)} USD, of which {usd(found.promised)} USD are promised")


@member.command("add")
def add_member(
    workspace: WorkspaceName,
    name: PersonName,
    role: Annotated[Role, typer.Option(help="Their role.")] = "member",
) -> None:
    """Let a person into a workspace."""
    from easel.store import members

    with_workspace(workspace, lambda database, its: members.add(database, its, name, role))
    say(f"{name} is {role} of {workspace}.")


@member.command("list")
def list_members(workspace: WorkspaceName) -> None:
    """Show who is in a workspace."""
    from easel.store import members

    found = with_workspace(workspace, members.listing)
    show(["name", "role", "added"], [(info.name, info.role, info.added_at) for info in found])


@member.command("remove")
def remove_member(workspace: WorkspaceName, name: PersonName) -> None:
    """Let a person go; the last owner stays."""
    from easel.store import members

    with_workspace(workspace, lambda database, its: members.remove(database, its, name))
    say(f"{name} has left {workspace}.")
