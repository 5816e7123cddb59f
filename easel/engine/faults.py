"""Faults of a GPU that no later call of this process recovers from, told apart from errors of one picture."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch

from easel.errors import EngineLost, JobError

Given = ParamSpec("Given")
Thing = TypeVar("Thing")


def fault_of(device: torch.device) -> str | None:
    """What is wrong with a device on which nothing can be computed any more.

    CUDA raises such an error, an illegal memory access say, again in every later call, and others only once;
    waiting for the device asks it, and takes no memory.
    """
    if device.type != "cuda":
        return None
    try:
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        return str(error).partition("\n")[0]
    return None


@contextmanager
def computing_on(device: torch.device) -> Iterator[None]:
    """EngineLost in place of the error that ends the block, where the device is broken by then."""
    try:
        yield
    except (EngineLost, JobError):
        raise
    except Exception as error:
        if fault := fault_of(device):
            raise EngineLost(f"{device} computes no more: {fault}") from error
        raise


def watched(
    method: Callable[Concatenate[Any, Given], Thing],
) -> Callable[Concatenate[Any, Given], Thing]:
    """The method of a painter, computing on its device."""

    @wraps(method)
    def computing(painter: Any, /, *given: Given.args, **named: Given.kwargs) -> Thing:
        with computing_on(painter.device):
            return method(painter, *given, **named)

    return computing
