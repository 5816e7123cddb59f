"""Operations counted, and the memory that they take: on the meta device true sizes cost nothing."""

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
        self.most = self.held = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = operation(*args, **(kwargs or {}))
        given = {storage._cdata for storage in storages((args, kwargs))}
        for storage in storages(out):
            if storage._cdata not in given | self._sizes.keys():
                self._sizes[storage._cdata] = storage.nbytes()
                self.held += storage.nbytes()
                weakref.finalize(storage, self._gone, storage._cdata)
        self.most = max(self.most, self.held)
        return out

    def _gone(self, key: int) -> None:
        self.held -= self._sizes.pop(key)


class Operations(TorchDispatchMode):
    """Within the block, how many operations make something new: what a GPU would be launched for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = operation(*args, **(kwargs or {}))
        given = {storage._cdata for storage in storages((args, kwargs))}
        self.count += any(storage._cdata not in given for storage in storages(out))
        return out


def storages(values: Any) -> list[torch.UntypedStorage]:
    """Where the tensors among the values are."""
    return [z.untyped_storage() for z in tree_leaves(values) if isinstance(z, Tensor)]


def operations(run: Any) -> int:
    """How many it makes."""
    with torch.inference_mode(), Operations() as counting:
        run()
    return counting.count


def counted(run: Any) -> float:
    """GB that it takes at most, beside what it is given."""
    with torch.inference_mode(), Counting() as counting:
        run()
    return counting.most / 1e9
