"""Blocks of a transformer that lie in the machine's own memory, and are brought to the GPU one ahead.

A streamed block is one run of bytes in memory that the GPU can read by itself, and takes turns with the
others in two rooms on the GPU: while one is at work, the next is on its way.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

ALIGNED = 256  # bytes: where a weight may begin


def is_streamed(block: int, streamed: int, blocks: int) -> bool:
    """Whether this block is one of the `streamed`, which are spread evenly, so that each has time to come."""
    return math.floor((block + 1) * streamed / blocks) > math.floor(block * streamed / blocks)


class Place(NamedTuple):
    """Where a weight belongs in the network, and in its block's run of bytes."""

    owner: dict[str, Any]  # parameters or buffers of a layer
    name: str
    weight: Tensor
    start: int


class Packed:
    """A block's weights in one run of bytes in the machine's own memory."""

    def __init__(self, block: nn.Module, device: torch.device) -> None:
        self.places: list[Place] = []
        end = 0
        for layer in block.modules():
            for owner in (layer._parameters, layer._buffers):
                for name, weight in owner.items():
                    if weight is not None:
                        self.places.append(Place(owner, name, weight, end))
                        end += -(-weight.nbytes // ALIGNED) * ALIGNED
        self.bytes = torch.empty(end, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self.weights = self.within(self.bytes)
        for place, weight in zip(self.places, self.weights, strict=True):
            weight.copy_(place.weight)
        self.put(self.weights)
        own = zip(self.places, self.weights, strict=True)
        self.places = [place._replace(weight=weight) for place, weight in own]

    def within(self, run: Tensor) -> list[Tensor]:
        """A run of bytes like its own, as its weights."""
        return [seen(run, place) for place in self.places]

    def put(self, weights: list[Tensor]) -> None:
        """Let the network's block have these weights."""
        for place, weight in zip(self.places, weights, strict=True):
            place.owner[place.name] = weight


def seen(run: Tensor, place: Place) -> Tensor:
    """A run of bytes as the weight that belongs there."""
    cut = run[place.start : place.start + place.weight.nbytes]
    weight = cut.view(place.weight.dtype).view(place.weight.shape)
    return nn.Parameter(weight, requires_grad=False) if isinstance(place.weight, nn.Parameter) else weight


class Stream:
    """A transformer's blocks in their order, those that are streamed brought in time: `Backend.blocks`."""

    def __init__(self, transformer: Any, streamed: int, device: torch.device) -> None:
        blocks, self._device = transformer.transformer_blocks, device
        self._packed = {
            i: Packed(block, device)
            for i, block in enumerate(blocks)
            if is_streamed(i, streamed, len(blocks))
        }
        largest = max(len(packed.bytes) for packed in self._packed.values())
        self._rooms = [Room(torch.empty(largest, dtype=torch.uint8, device=device)) for _ in range(2)]
        self._beside = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, transformer: Any) -> Iterator[Any]:
        for i, block in enumerate(transformer.transformer_blocks):
            if i not in self._packed:
                yield block
                continue
            packed, room = self._packed[i], self._bring(i, self._rooms[0])
            if room.come is not None:
                torch.cuda.current_stream(self._device).wait_event(room.come)
            following = min((j for j in self._packed if j > i), default=min(self._packed))
            self._bring(following, next(other for other in self._rooms if other is not room))
            packed.put(packed.within(room.bytes))
            try:
                yield block
            finally:
                packed.put(packed.weights)
                if self._beside:
                    room.left = torch.cuda.current_stream(self._device).record_event()

    def _bring(self, i: int, room: "Room") -> "Room":
        """Where block `i` is or will be: it is sent to `room` unless it is in one, or on its way."""
        for other in self._rooms:
            if other.block == i:
                return other
        run = self._packed[i].bytes
        with torch.cuda.stream(self._beside):  # None is no stream at all
            if self._beside and room.left is not None:
                self._beside.wait_event(room.left)
            room.bytes[: len(run)].copy_(run, non_blocking=True)
            room.come = self._beside.record_event() if self._beside else None
        room.block = i
        return room


@dataclass
class Room:
    """Memory on the device for one block."""

    bytes: Tensor
    block: int | None = None  # which is in it, or on its way
    come: Any = None  # the event of its arrival
    left: Any = None  # the event of the last use of what was in it
