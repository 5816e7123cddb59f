"""`easel account`: workspaces, and whom they belong to."""

from typing import Annotated

import typer
from rich.table import Table

from easel.cli.output import results, say
from easel.cli.store import with_database, with_workspace
from easel.cli.token import token
from easel.schema.accounts import Role

account = typer.Typer(help="Workspaces, their members and their tokens.", no_args_is_help=True)
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

    table = Table("id", "name", "made", box=None)
    for info in with_database(workspaces.listing):
        table.add_row(str(info.id), info.name, f"{info.created_at:%Y-%m-%d %H:%M}")
    results.print(table)


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

    table = Table("name", "role", "added", box=None)
    for info in with_workspace(workspace, members.listing):
        table.add_row(info.name, info.role, f"{info.added_at:%Y-%m-%d %H:%M}")
    results.print(table)


@member.command("remove")
def remove_member(workspace: WorkspaceName, name: PersonName) -> None:
    """Let a person go; the last owner stays."""
    from easel.store import members

    with_workspace(workspace, lambda database, its: members.remove(database, its, name))
    say(f"{name} has left {workspace}.")
