"""Money: paid in, promised to unfinished jobs, charged for finished ones; exact, in USD."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.errors import PaymentRequired
from easel.ids import new_id
from easel.pricing import usd
from easel.schema.accounts import Spending, Usage
from easel.store.database import Database
from easel.store.quick import Quick
from easel.store.tables import Job, TopUp, Workspace

CHARGE = Quick(
    "WITH charge AS (INSERT INTO ledger (job_id, workspace_id, amount)"
    " VALUES (:job, :workspace_id, :amount) RETURNING amount)"
    " UPDATE workspaces SET balance = balance - charge.amount FROM charge WHERE id = :workspace_id"
)


@dataclass(frozen=True)
class Balance:
    """What a workspace has, and how much of that its unfinished jobs will cost if they complete."""

    amount: Decimal
    promised: Decimal


async def top_up(database: Database, workspace_id: UUID, amount: Decimal) -> None:
    """Record money that was paid in."""
    async with database.begin() as connection:
        row = {"id": new_id(), "workspace_id": workspace_id, "amount": amount}
        await connection.execute(insert(TopUp).values(row))
        mine = update(Workspace).where(Workspace.id == workspace_id)
        await connection.execute(mine.values(balance=Workspace.balance + amount))


async def charge(connection: AsyncConnection, workspace_id: UUID, job_id: UUID, amount: Decimal) -> None:
    """Take the price of a finished picture, in the transaction that completes its job."""
    await CHARGE.within(connection, job=job_id, workspace_id=workspace_id, amount=amount)


async def balance(database: Database, workspace_id: UUID) -> Balance:
    """What the workspace has."""
    async with database.read() as connection:
        return await _balance(connection, workspace_id)


async def check_cover(connection: AsyncConnection, workspace_id: UUID) -> None:
    """Refuse with PaymentRequired, if the balance does not cover all unfinished jobs, those just added too.

    The transaction holds the workspace, so that no other adds jobs beside it.
    """
    found = await _balance(connection, workspace_id)
    if found.promised > found.amount:
        raise PaymentRequired(
            f"The balance is insufficient: it is {usd(found.amount)} USD, and unfinished jobs with this one"
            f" cost {usd(found.promised)} USD; add money with `easel account top-up`"
        )


async def _balance(connection: AsyncConnection, workspace_id: UUID) -> Balance:
    """In one statement, so that no job completes between the two figures."""
    promised = select(func.coalesce(func.sum(Job.cost), 0)).where(
        Job.workspace_id == workspace_id, Job.completed_at.is_(None)
    )
    query = select(Workspace.balance, promised.scalar_subquery().label("promised"))
    row = (await connection.execute(query.where(Workspace.id == workspace_id))).one()
    return Balance(row.balance, row.promised)


SPENDING = text(
    "SELECT CAST(charged_at AT TIME ZONE 'UTC' AS date) AS day, variant, token_id, tokens.name AS token,"
    " count(*) AS pictures, sum(amount) AS amount"
    " FROM ledger JOIN jobs ON jobs.id = job_id LEFT JOIN tokens ON tokens.id = token_id"
    " WHERE ledger.workspace_id = :workspace_id"
    " AND charged_at >= CAST(CAST(:first AS date) AS timestamp) AT TIME ZONE 'UTC'"
    " AND charged_at < CAST(CAST(:last AS date) + 1 AS timestamp) AT TIME ZONE 'UTC'"
    " GROUP BY day, variant, token_id, token ORDER BY day DESC, variant, token, token_id"
)


async def usage(database: Database, workspace_id: UUID, first: date, last: date) -> Usage:
    """What was spent from the first to the last of these days, both included, in UTC."""
    days = {"workspace_id": workspace_id, "first": first, "last": last}
    async with database.read() as connection:
        rows = (await connection.execute(SPENDING, days)).all()
    return Usage(
        first=first,
        last=last,
        pictures=sum(row.pictures for row in rows),
        amount=usd(sum((row.amount for row in rows), Decimal(0))),
        items=[Spending.model_validate({**row._mapping, "amount": usd(row.amount)}) for row in rows],
    )
