"""Tells of steps without holding up the device: of each while the device is at work on the next."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Tell = Callable[[int, Tensor], None]  # the step's number from 1, and what the picture looks like by now


class Steps:
    """Hears of each step when it is handed to the device, and tells of it when the device has taken it.

    A GPU is `behind`: it is handed one step more than it has told of, so that it never waits for who listens.
    The preview is made on a stream of its own, beside the next step. What `tell` raises ends the sampling
    after the step that is under way.
    """

    def __init__(self, tell: Tell, device: torch.device) -> None:
        self._tell, self._device = tell, device
        self._behind = int(device.type == "cuda")
        self._beside = torch.cuda.Stream(device) if self._behind else None
        self._handed: deque[tuple[int, Tensor, Any]] = deque()
        self.told = time.perf_counter()  # when the latest step was

    def __call__(self, step: int, tokens: Tensor) -> None:
        """The step was handed to the device."""
        taken = torch.cuda.current_stream(self._device).record_event() if self._beside else None
        self._handed.append((step, tokens, taken))
        if len(self._handed) > self._behind:
            self._tell_of_first()

    def finish(self) -> None:
        """All were: tell of those that were not told of yet."""
        while self._handed:
            self._tell_of_first()

    def _tell_of_first(self) -> None:
        step, tokens, taken = self._handed.popleft()
        if taken is not None:
            taken.synchronize()
        with torch.cuda.stream(self._beside):  # None is no stream at all
            self._tell(step, tokens)
        self.told = time.perf_counter()
