"""Krea's transformers on a device: as many as it has room for, those that learn beside them included."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Any, NamedTuple

import psutil
import torch
from diffusers import Krea2Transformer2DModel
from torch import Tensor

from easel.catalog import Weights
from easel.errors import EngineError
from easel.model.backend import PLAIN, Backend
from easel.model.fitting import left_behind, on_device
from easel.model.lora import twin
from easel.model.open_weights import WORKING_BYTES
from easel.model.part import Part
from easel.model.streaming import Stream, packed
from easel.model.training_memory import counts, in_training, streamed_for


class Loaded(NamedTuple):
    """Two networks around the same weights."""

    painting: Krea2Transformer2DModel  # carries styles while it paints
    resting: Krea2Transformer2DModel  # as it was loaded
    runs: Mapping[int, Tensor]  # the weights of its streamed blocks


class Apart(NamedTuple):
    """A network to learn beside."""

    network: Krea2Transformer2DModel
    streamed: int  # of its blocks
    need: float  # bytes of the device's memory that it takes with all that is learnt


class Transformers:
    """Turbo and Raw, of which as many stay on the device as it has room for."""

    def __init__(
        self,
        parts: Mapping[Weights, Part],
        device: torch.device,
        backend: Backend = PLAIN,
        streamed: int = 0,
        working: float = WORKING_BYTES,  # of its memory, what a picture takes beside the weights
    ) -> None:
        self._parts, self._device, self._working = parts, device, working
        self.backend, self._streamed = backend, streamed
        self._loaded: dict[Weights, Loaded] = {}
        self._left: float | None = None  # bytes that painting may still take while there is learning beside
        self._one_at_a_time = Lock()

    def take(self, weights: Weights) -> Krea2Transformer2DModel:
        """The transformer, loaded, to paint with; others give way where there is no room. EngineError where
        learning beside leaves none."""
        with self._one_at_a_time:
            if self._left is None and weights not in self._loaded:
                self._load(weights, self._after_others(weights))
            if self._left is not None and weights not in self._loaded:
                self._load(weights, self._beside_learning(weights, self._left))
                self._left -= self._size(weights)
            if self._left is not None and self._left < self._working:
                raise EngineError(no_room_for(weights))
            return self._loaded[weights].painting

    def __contains__(self, weights: Weights) -> bool:
        return weights in self._loaded

    def spare(self) -> float:
        """Bytes of the device's memory that no picture needs."""
        free = free_memory(self._device) if self._left is None else self._left
        return max(0.0, free - self._working)

    @contextmanager
    def apart(self, weights: Weights, taken: float) -> Iterator[Apart]:
        """A network of the same weights to learn beside, which takes so many bytes: within the block what
        paints leaves them alone. EngineError where there is too little."""
        try:
            with self._one_at_a_time:
                streamed = self._after_what_must(weights, taken)
                if weights not in self._loaded:
                    self._load(weights, streamed)
                _, resting, runs = self._loaded[weights]
                network = self._computed_by(PLAIN, twin(resting), runs)
                self._left = free_memory(self._device) - taken
            yield Apart(network, streamed, in_training(self._parts[weights], streamed) + taken)
        finally:
            with self._one_at_a_time:
                self._left = None
                self._keep(lambda one, kept: len(kept.runs) <= self._streamed)

    def compute_by(self, backend: Backend) -> None:
        """From now on."""
        self.backend = backend
        for painting, _, _ in self._loaded.values():
            painting.backend = replace(backend, at_hand=painting.backend.at_hand)

    def _after_others(self, weights: Weights) -> int:
        """Let the others give way where there is no room to paint with this one; how many of its blocks are
        to be streamed."""
        if on_device(self._parts[weights], self._streamed) + self._working > free_memory(self._device):
            self._loaded = {}
        return self._streamed

    def _beside_learning(self, weights: Weights, left: float) -> int:
        """The same where so many bytes are left and no other gives way."""
        part = self._parts[weights]
        for streamed in counts(part, self._streamed, self._outside(weights)):
            if on_device(part, streamed) + self._working <= left:
                return streamed
        raise EngineError(no_room_for(weights))

    def _after_what_must(self, weights: Weights, taken: float) -> int:
        """Let give way what must, so that learning beside this one can take so many bytes; how many of its
        blocks are to be streamed."""
        sizes = {one: self._size(one) for one in self._loaded}
        free = free_memory(self._device) + sum(sizes.values())
        outside = self._outside(weights)
        streamed = streamed_for(self._parts, weights, taken, free, outside, self._streamed, self._working)
        left = free - in_training(self._parts[weights], streamed) - taken
        others = sum(size for one, size in sizes.items() if one != weights)
        stay = others + self._working <= left
        self._keep(lambda one, kept: len(kept.runs) == streamed if one == weights else stay)
        return streamed

    def _keep(self, stays: Callable[[Weights, Loaded], bool]) -> None:
        self._loaded = {one: kept for one, kept in self._loaded.items() if stays(one, kept)}

    def _size(self, weights: Weights) -> float:
        """Bytes of the device's memory that one that is loaded has."""
        return on_device(self._parts[weights], len(self._loaded[weights].runs))

    def _outside(self, weights: Weights) -> float | None:
        """Bytes of the machine's own memory for this one's streamed blocks; None without a GPU."""
        if self._device.type != "cuda":
            return None
        torch._C._host_emptyCache()  # what was streamed from
        has = self._loaded[weights].runs if weights in self._loaded else {}
        return memory_outside() + sum(map(len, has.values()))

    @torch.inference_mode(False)  # a training finds gradients through them
    def _load(self, weights: Weights, streamed: int) -> None:
        part = self._parts[weights]
        resting = part.load(self._device, left_behind(part, streamed))
        runs = packed(resting, streamed, self._device)
        painting = self._computed_by(self.backend, twin(resting), runs)
        self._loaded[weights] = Loaded(painting, resting, runs)

    def _computed_by(self, backend: Backend, network: Any, runs: Mapping[int, Tensor]) -> Any:
        """The network, its streamed blocks brought in time."""
        if runs:
            backend = replace(backend, at_hand=Stream(network, runs, self._device))
        network.backend = backend
        return network


def no_room_for(weights: Weights) -> str:
    """Why nothing is painted with a transformer now."""
    return (
        f"A style is being trained, and beside it is too little memory to paint with {weights.title()}: "
        "paint when it is done, or take a larger GPU"
    )


def free_memory(device: torch.device) -> float:
    """Bytes of the device's memory that nothing holds."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return float(torch.cuda.mem_get_info(device)[0])
    return memory_outside()


def memory_outside() -> float:
    """Bytes of the machine's own memory that nothing holds."""
    return float(psutil.virtual_memory().available)
