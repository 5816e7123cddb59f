"""How fast requests may come: a bucket for each token, in the memory of this process."""

from math import ceil
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from easel.api.refusals import rate_limit
from easel.errors import TooManyRequests


class Bucket(NamedTuple):
    """How many requests were left at a time; it fills again as time goes on."""

    left: float
    seen: float


class Rates:
    """Lets each token have so many requests in a minute, all at once if it likes; None is no limit."""

    def __init__(self, per_minute: int | None) -> None:
        self._per_minute = per_minute
        self._buckets: dict[UUID, Bucket] = {}

    def take(self, token_id: UUID) -> dict[str, str]:
        """Count a request of the token: the headers that tell what is left, or TooManyRequests."""
        if self._per_minute is None:
            return {}
        most, now = self._per_minute, monotonic()
        bucket = self._buckets.get(token_id, Bucket(most, now))
        left = min(most, bucket.left + (now - bucket.seen) * most / 60)
        if left < 1:
            wait = ceil((1 - left) * 60 / most)
            text = f"Too many requests: at most {most} a minute; try again in {wait} s"
            raise TooManyRequests(text, maximum=most, wait=wait)
        self._buckets[token_id] = Bucket(left - 1, now)
        return rate_limit(most, int(left - 1), ceil((most - left + 1) * 60 / most))
