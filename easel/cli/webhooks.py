"""`easel webhooks`: what was sent to receivers, and the secrets by which they know it."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import typer

from easel.cli.output import results, say, show
from easel.cli.store import with_database
from easel.schema.webhooks import State

if TYPE_CHECKING:
    from easel.store.database import Database

Answer = TypeVar("Answer")
DeliveryId = Annotated[UUID, typer.Argument(metavar="ID", help="As `easel webhooks list` shows it.")]

webhooks = typer.Typer(
    help="See webhooks, send them again, rotate the secret that signs them.", no_args_is_help=True
)


@webhooks.command("list")
def list_(
    job: Annotated[UUID | None, typer.Option(help="Only of this job.")] = None,
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
) -> None:
    """Show the newest hundred deliveries."""
    from easel.store import webhooks

    page = _here(
        lambda database, workspace: webhooks.page(database, workspace, limit=100, job_id=job, state=state)
    )
    rows = [(d.id, d.job_id, d.state, d.attempts, d.next_attempt_at, d.url, d.error) for d in page.items]
    show(["id", "job", "state", "sent", "next", "url", "error"], rows)


@webhooks.command("show")
def show_one(delivery_id: DeliveryId) -> None:
    """Print a delivery as JSON, then the body that its receiver is sent."""
    from easel.store import webhooks

    delivery = _here(lambda database, workspace: webhooks.get(database, workspace, delivery_id))
    message = with_database(lambda database: webhooks.message(database, delivery_id))
    results.print(delivery.model_dump_json(indent=2), message.body, sep="\n", markup=False)


@webhooks.command()
def resend(delivery_id: DeliveryId) -> None:
    """Send a delivery again, now: the same id and body, with all attempts before it."""
    from easel.store import webhooks

    delivery = _here(lambda database, workspace: webhooks.resend(database, workspace, delivery_id))
    say(f"{delivery_id} is sent to {delivery.url} again.")


@webhooks.command()
def secret() -> None:
    """Print the secrets that verify, the newest first: one, or two during a rotation."""
    from easel.store import workspaces

    for secret in _here(workspaces.webhook_secrets):
        results.print(secret, markup=False)


@webhooks.command()
def rotate_secret() -> None:
    """Make and print a new secret; the present one signs beside it until it is dropped."""
    from easel.store import webhooks

    results.print(_here(webhooks.rotate_secret), markup=False)
    say("The old secret signs too until `easel webhooks drop-old-secret`.")


@webhooks.command()
def drop_old_secret() -> None:
    """End a rotation: let the new secret sign alone."""
    from easel.store import webhooks

    _here(webhooks.drop_old_secret)
    say("The new secret signs alone.")


def _here(use: "Callable[[Database, UUID], Awaitable[Answer]]") -> Answer:
    """What `use` answers for this machine's workspace."""
    from easel.store import workspaces

    async def used(database: "Database") -> Answer:
        return await use(database, await workspaces.default(database))

    return with_database(used)
