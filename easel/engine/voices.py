"""What references said at each step, kept for the next picture in the same style."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from easel.model.shared import Voice


class KeptVoices:
    """The latest voices that go into so many bytes.

    A reference is noised as the picture's time says and hears an empty prompt, so what it says is the same
    beside every prompt and seed.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Voice] = OrderedDict()

    def at(self, key: Hashable, listen: Callable[[], Voice]) -> Voice:
        """What is kept under `key`, or what `listen` hears."""
        voice = self._kept.pop(key, None) or listen()
        self._kept[key] = voice
        while sum(map(size, self._kept.values())) > self._most:
            self._kept.popitem(last=False)
        return voice

    def clear(self) -> None:
        """Give the memory back."""
        self._kept.clear()


def size(voice: Voice) -> int:
    """Bytes of its keys and values."""
    return sum(said.k.nbytes + said.v.nbytes for said in voice if said)
