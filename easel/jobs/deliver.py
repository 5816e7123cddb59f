"""One webhook: a signed POST, tried again for a day."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from easel import outbound
from easel.errors import OutboundError
from easel.signing import signed_headers
from easel.store import webhooks
from easel.store.database import Database
from easel.store.queue import Entry

TO_ONE_AT_ONCE = 10
TURN = timedelta(seconds=outbound.POST_SECONDS / 3)  # until it is looked whether a busy receiver is free
RETRY_AFTER = [
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=10),
]


async def deliver(
    entry: Entry, database: Database, allow_networks: Sequence[str], busy: Counter[str]
) -> None:
    """Send the delivery once, and settle whether it comes back.

    `busy` counts what each receiver is being sent: one that takes its time does not keep the others waiting.
    """
    message = await webhooks.message(database, entry.row)
    receiver = urlsplit(message.url).netloc
    if busy[receiver] == TO_ONE_AT_ONCE:
        return await webhooks.put_off(database, entry, TURN)
    busy[receiver] += 1
    try:
        error, final = await send(message, allow_networks)
    finally:
        busy[receiver] -= 1
    done = error is None or final or message.attempts >= len(RETRY_AFTER)
    again_in = None if done else RETRY_AFTER[message.attempts]
    await webhooks.settle(database, entry, error, again_in)


async def send(message: webhooks.Message, allow_networks: Sequence[str]) -> tuple[str | None, bool]:
    """What went wrong, if anything, and whether the receiver wants no more."""
    headers = signed_headers(message.secrets, str(message.id), message.body)
    try:
        status = await outbound.post(message.url, message.body.encode(), headers, allow_networks)
    except OutboundError as error:
        return error.message, False
    if 200 <= status < 300:
        return None, False
    return f"The receiver answered {status}", status == 410
