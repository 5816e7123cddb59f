"""What every training shares: a learner that can be broken off and go on, and the loop around it."""

import io
import time
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn

from easel.schema.painting import Notebook
from easel.schema.styles import Recipe

RISING, FALLING = 10, 0.3  # steps in which the rate rises; part of all in which it falls


class Learner(ABC):
    """Learns step by step; all that it has learnt is in what its optimiser moves."""

    def __init__(self, optimiser: Any, recipe: Recipe) -> None:
        self.optimiser, self.recipe = optimiser, recipe
        self.steps = 0  # taken

    @abstractmethod
    def step(self) -> None:
        """Learn a little: find gradients, and `advance`."""

    def advance(self) -> None:
        """Go down the gradients, at a rate that rises at first and falls at the end."""
        left = 1 - self.steps / self.recipe.max_train_steps
        scale = min(1, (self.steps + 1) / RISING, left / FALLING)
        for group in self.optimiser.param_groups:
            nn.utils.clip_grad_norm_(group["params"], 1.0)
            group["lr"] = self.recipe.learning_rate * scale
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.steps += 1

    def state(self) -> bytes:
        """All that another learner needs to go on."""
        learnt = [parameter.detach() for parameter in self._parameters()]
        buffer = io.BytesIO()
        torch.save({"steps": self.steps, "learnt": learnt, "optimiser": self.optimiser.state_dict()}, buffer)
        return buffer.getvalue()

    def go_on(self, state: bytes) -> None:
        """Take over what an earlier learner had learnt."""
        saved = torch.load(io.BytesIO(state), map_location="cpu")
        with torch.no_grad():
            for parameter, learnt in zip(self._parameters(), saved["learnt"], strict=True):
                parameter.copy_(learnt)
        self.optimiser.load_state_dict(saved["optimiser"])
        self.steps = saved["steps"]

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]


def learn(learner: Learner, notebook: Notebook, every: float) -> None:
    """Go on from the notebook's state to the last step, telling of each; what was learnt is kept `every` so
    many seconds."""
    if notebook.state:
        learner.go_on(notebook.state)
    kept = time.monotonic()
    while learner.steps < learner.recipe.max_train_steps:
        learner.step()
        if time.monotonic() - kept >= every:
            notebook.keep(learner.state())
            kept = time.monotonic()
        notebook.step(learner.steps)


def layers(network: nn.Module, kind: type[nn.Module], within: str = "") -> list[str]:
    """The layers of a kind within a part of the network."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, kind) and name.startswith(within)
    ]
