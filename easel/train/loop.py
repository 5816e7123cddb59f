"""The loop that every network is trained by: losses, steps, a running average of the weights, and a state to
resume from."""

import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

FALLING = 0.3  # of a run
SAVED_EVERY = 120  # seconds
AVERAGED = 0.998  # what a step leaves of the average


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Optimisers:
    """Muon on matrices and kernels, AdamW on the rest, both at rates for single weights.

    Muon (Jordan et al. 2024) takes a convolution's kernels as matrices, a row for each output.
    """

    def __init__(self, network: nn.Module, matrices: Iterable[nn.Parameter], rates: tuple[float, float]):
        self.kernels = list(matrices)
        chosen = {id(p) for p in self.kernels}
        rest = [p for p in network.parameters() if id(p) not in chosen]
        self.flat = [nn.Parameter(p.data.view(len(p), -1)) for p in self.kernels]  # the same memory
        self.all: list[torch.optim.Optimizer] = [
            torch.optim.Muon(self.flat, lr=rates[0], weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=rates[1], betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.rates = [optimiser.param_groups[0]["lr"] for optimiser in self.all]

    def add(self, optimiser: torch.optim.Optimizer) -> None:
        self.all.append(optimiser)
        self.rates.append(optimiser.param_groups[0]["lr"])

    def step(self, scale: float) -> None:
        """A step at the rates times `scale`; gradients are clipped to a norm of 1, optimiser by optimiser."""
        for matrix, kernel in zip(self.flat, self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else kernel.grad.view(len(kernel), -1)
        for optimiser, rate in zip(self.all, self.rates, strict=True):
            group = optimiser.param_groups[0]
            torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
            group["lr"] = rate * scale
            optimiser.step()


def train(
    network: nn.Module,
    optimisers: Optimisers,
    losses: Callable[[random.Random], dict[str, Tensor]],
    saved: Path,
    minutes: float,
) -> dict[str, Tensor]:
    """Minimise the sum of `losses` for so many minutes, from `saved` on if there is such a file, and give the
    averaged parameters. Learning rates rise for 50 steps and fall in the last part of the run, FALLING."""
    average = {name: p.detach().clone() for name, p in network.named_parameters()}
    step = 0
    if saved.exists():
        state = torch.load(saved, map_location=device())
        network.load_state_dict(state["network"])
        average, step = state["average"], state["step"]
        for optimiser, old in zip(optimisers.all, state["optimisers"], strict=True):
            optimiser.load_state_dict(old)

    def save() -> None:
        saved.parent.mkdir(parents=True, exist_ok=True)
        states = [optimiser.state_dict() for optimiser in optimisers.all]
        partial = saved.with_suffix(".part")
        torch.save(
            {"network": network.state_dict(), "average": average, "step": step, "optimisers": states}, partial
        )
        partial.rename(saved)

    rng, begun, first, kept = random.Random(step), time.time(), step, time.time()
    means: dict[str, float] = {}
    torch.manual_seed(step)
    network.train()
    while (spent := (time.time() - begun) / 60 / minutes) < 1:
        parts = losses(rng)
        torch.stack(list(parts.values())).sum().backward()
        optimisers.step(min(1, (step - first + 1) / 50) * max(0.02, min(1, (1 - spent) / FALLING)))
        network.zero_grad()
        step += 1
        keep = min(AVERAGED, step / (step + 20))
        with torch.no_grad():
            for name, p in network.named_parameters():
                average[name].lerp_(p, 1 - keep)
        if step % 20 == 0:
            for name, value in parts.items():
                means[name] = 0.8 * means.get(name, value.item()) + 0.2 * value.item()
            said = " ".join(f"{name} {value:.4f}" for name, value in means.items())
            print(f"step {step} {said} {(step - first) / (time.time() - begun):.2f} steps/s", flush=True)
        if time.time() - kept > SAVED_EVERY:
            save()
            kept = time.time()
    save()
    return average
