"""What references said at each step, kept for the next picture in the same style."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from easel.model.shared import Voice

KEPT = 8e9  # bytes at most: the three turns of twenty references


class KeptVoices:
    """The latest voices that go into so many bytes.

    A reference is noised as the picture's time says and hears an empty prompt, so what it says is the same
    beside every prompt and seed. What is kept depends only on what was asked for in which order, so processes
    with the same room, which compute pictures together, keep the same.
    """

    def __init__(self, room: float | None = None) -> None:
        self.room = room  # None until it is known
        self._kept: OrderedDict[Hashable, Voice] = OrderedDict()

    def at(self, key: Hashable, listen: Callable[[], Voice]) -> Voice:
        """What is kept under `key`, or what `listen` hears."""
        assert self.room is not None
        voice = self._kept.pop(key, None) or listen()
        self._kept[key] = voice
        while sum(map(size, self._kept.values())) > self.room:
            self._kept.popitem(last=False)
        return voice

    def clear(self) -> None:
        """Give the memory back; how much there is for them then is to be found anew."""
        self._kept.clear()
        self.room = None


def size(voice: Voice) -> int:
    """Bytes of its keys and values."""
    return sum(said.k.nbytes + said.v.nbytes for said in voice if said)


def room_beside(transformers: Any) -> float:
    """Bytes for voices: as many as each of the processes that compute pictures together has to spare."""
    room, peers = min(KEPT, transformers.spare()), transformers.backend.peers
    return peers.least(room) if peers else room
