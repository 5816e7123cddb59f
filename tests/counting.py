"""The memory that operations take, counted: on the meta device true sizes cost nothing."""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Counting(TorchDispatchMode):
    """Within the block, the bytes of all that operations have made and that is still held, and the most of
    them. What a kernel takes for itself is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self._held = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = operation(*args, **(kwargs or {}))
        given = {id(z.untyped_storage()) for z in tree_leaves((args, kwargs)) if isinstance(z, Tensor)}
        for z in tree_leaves(out):
            if (
                isinstance(z, Tensor)
                and (storage := id(z.untyped_storage())) not in given | self._sizes.keys()
            ):
                self._sizes[storage] = z.untyped_storage().nbytes()
                self._held += self._sizes[storage]
                weakref.finalize(z.untyped_storage(), self._gone, storage)
        self.most = max(self.most, self._held)
        return out

    def _gone(self, storage: int) -> None:
        self._held -= self._sizes.pop(storage)


def counted(run: Any) -> float:
    """GB that it takes at most, beside what it is given."""
    with torch.inference_mode(), Counting() as counting:
        run()
    return counting.most / 1e9
