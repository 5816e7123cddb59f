"""Blocks of a transformer that lie in the machine's own memory, and are brought to the GPU one ahead.

A streamed block is one run of bytes in memory that the GPU can read by itself, and takes turns with the
others in two rooms on the GPU: while one is at work, the next is on its way. Where gradients are found, each
block is run again, the last one first, and it is the one before it that is on its way.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

ALIGNED = 256  # bytes: where a weight may begin


def is_streamed(block: int, streamed: int, blocks: int) -> bool:
    """Whether this block is one of the `streamed`, which are spread evenly, so that each has time to come."""
    return math.floor((block + 1) * streamed / blocks) > math.floor(block * streamed / blocks)


class Place(NamedTuple):
    """Where a weight belongs in a network."""

    owner: dict[str, Any]  # parameters or buffers of a layer
    name: str
    weight: Tensor

    def put(self, weight: Tensor) -> None:
        """Let the network have this weight there."""
        self.owner[self.name] = weight


def places(block: nn.Module) -> list[Place]:
    """Of all weights of a block."""
    return [
        Place(owner, name, weight)
        for layer in block.modules()
        for owner in (layer._parameters, layer._buffers)
        for name, weight in owner.items()
        if weight is not None
    ]


def packed(transformer: Any, streamed: int, device: torch.device) -> dict[int, Tensor]:
    """The weights of each block that is streamed in one run of bytes, by the blocks' numbers; the
    transformer's own are parts of them from now on."""
    blocks = transformer.transformer_blocks
    return {i: run_of(one, device) for i, one in enumerate(blocks) if is_streamed(i, streamed, len(blocks))}


def run_of(block: nn.Module, device: torch.device) -> Tensor:
    """A block's weights in one run of bytes in the machine's own memory."""
    found = places(block)
    *starts, end = accumulate((-(-p.weight.nbytes // ALIGNED) * ALIGNED for p in found), initial=0)
    run = torch.empty(end, dtype=torch.uint8, pin_memory=device.type == "cuda")
    for place, start in zip(found, starts, strict=True):
        weight = seen(run, start, place.weight)
        weight.copy_(place.weight)
        place.put(weight)
    return run


def seen(run: Tensor, start: int, like: Tensor) -> Tensor:
    """What begins there in a run of bytes, as a weight like that one."""
    weight = run[start : start + like.nbytes].view(like.dtype).view(like.shape)
    return nn.Parameter(weight, requires_grad=False) if isinstance(like, nn.Parameter) else weight


class Stream:
    """Brings those blocks of a transformer of which there are runs, in time: `Backend.at_hand`.

    Networks of the same weights (`lora.twin`) have a stream each, of the same runs.
    """

    def __init__(self, transformer: Any, runs: Mapping[int, Tensor], device: torch.device) -> None:
        self._runs, self._device = runs, device
        self._places = {i: places(transformer.transformer_blocks[i]) for i in runs}
        self._beside = torch.cuda.Stream(device) if device.type == "cuda" else None
        largest = max(map(len, runs.values()))
        self._rooms = [Room(torch.empty(largest, dtype=torch.uint8, device=device)) for _ in range(2)]
        if self._beside:
            for room in self._rooms:  # nobody else gets their memory while a block is on its way there
                room.bytes.record_stream(self._beside)

    @contextmanager
    def __call__(self, i: int, again: bool = False) -> Iterator[None]:
        """Within the block the transformer's block `i` is on the device.

        Where it is run `again` for its gradient, what was saved of it refers to its room, which stays as it
        is until another block is asked for: autograd is done with a block before it runs the one before it.
        """
        if i not in self._runs:
            yield
            return
        left = self._now()  # so far all is handed to the device that needs what was asked for before
        room = self._bring(i, self._rooms[0], left)
        if room.come is not None:
            torch.cuda.current_stream(self._device).wait_event(room.come)
        self._bring(self._following(i, again), next(r for r in self._rooms if r is not room), left)
        for place in self._places[i]:
            start = int(place.weight.storage_offset()) * place.weight.itemsize
            place.put(seen(room.bytes, start, place.weight))
        try:
            yield
        finally:
            for place in self._places[i]:
                place.put(place.weight)

    def _following(self, i: int, again: bool) -> int:
        """The block that is asked for next; at the end of the way back, this one."""
        if again:
            return max((j for j in self._runs if j < i), default=i)
        return min((j for j in self._runs if j > i), default=min(self._runs))

    def _bring(self, i: int, room: "Room", left: Any) -> "Room":
        """Where block `i` is or will be: unless it is in a room or on its way to one, it is sent to `room`,
        as soon as what was in it is `left`."""
        for other in self._rooms:
            if other.block == i:
                return other
        run = self._runs[i]
        with torch.cuda.stream(self._beside):  # None is no stream at all
            if self._beside:
                self._beside.wait_event(left)
            room.bytes[: len(run)].copy_(run, non_blocking=True)
            room.come = self._beside.record_event() if self._beside else None
        room.block = i
        return room

    def _now(self) -> Any:
        """The event of the device's coming to where it is asked to be now."""
        return torch.cuda.current_stream(self._device).record_event() if self._beside else None


@dataclass
class Room:
    """Memory on the device for one block."""

    bytes: Tensor
    block: int | None = None  # which is in it, or on its way
    come: Any = None  # the event of its arrival
