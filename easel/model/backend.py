"""How the blocks of a transformer are computed: plainly, or in the ways that are faster on a GPU."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from easel.model import attention, block, manner
from easel.model.peers import Peers

Half = Callable[..., Any]


def there(i: int, again: bool = False) -> AbstractContextManager[None]:
    """What is done to have block `i` on the device where all blocks are."""
    return nullcontext()


@dataclass(frozen=True)
class Backend:
    """What a transformer's blocks go through; without a word, the plain form of all of it."""

    projected: Half = block.projected
    finished: Half = block.finished
    attend: Callable[..., Tensor] = attention.attend
    attend_at: Callable[..., Tensor] = attention.attend_at
    telling: attention.Telling = attention.told
    taken: Half = manner.taken
    at_hand: Callable[..., AbstractContextManager[None]] = there
    peers: Peers | None = None  # the processes of further GPUs

    def compiled_as(self, other: "Backend") -> "Backend":
        """The same with the parts that may be compiled as another has them."""
        return replace(self, projected=other.projected, finished=other.finished, taken=other.taken)

    def total(self, x: Tensor) -> Tensor:
        """Of what was found with this process's heads, with all heads."""
        return self.peers.total(x) if self.peers else x


PLAIN = Backend()


def backend_of(transformer: Any) -> Backend:
    """How this transformer is computed."""
    return getattr(transformer, "backend", PLAIN)


@cache
def compiled(dynamic: bool = True, by: str = "inductor") -> Backend:
    """The halves of a block compiled, and what pictures do to hear references, once for all blocks and, where
    `dynamic`, for all lengths."""
    projected, finished, taken = (
        torch.compile(part, dynamic=dynamic, fullgraph=True, backend=by)
        for part in (block.projected, block.finished, manner.taken)
    )
    torch._dynamo.config.recompile_limit = 64  # a GGUF file mixes kinds: each mix is a graph
    return Backend(projected, finished, taken=taken)


@contextmanager
def uncompiled(transformer: Any) -> Iterator[None]:
    """Within the block the transformer's blocks are computed as they stand: what was compiled before does not
    see hooks."""
    before = backend_of(transformer)
    transformer.backend = before.compiled_as(PLAIN)
    try:
        yield
    finally:
        transformer.backend = before
