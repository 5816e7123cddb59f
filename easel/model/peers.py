"""One picture on several GPUs: each process has all weights, and computes a part of the tokens.

Around attention the parts change hands: each process gets all tokens of a part of the heads, and gives back
what they found (DeepSpeed-Ulysses, Jacobs et al. 2023, arXiv 2309.14509). So attention, and all that
references do in it, is the same as in one process, on fewer heads.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from easel.model.block import Modulation, Rotary, TwoTimes

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class Peers:
    """This process among those that compute a picture together; `torch.distributed` is initialised."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def divided(
        self, x: Tensor, modulation: Modulation, rotary: Rotary, attend: Attend
    ) -> tuple[Tensor, Modulation, Rotary, Attend]:
        """What this process computes of tokens `x` (B, L, D): its own tokens, and its own heads' attention
        among all of them."""
        length = x.shape[1]
        if isinstance(modulation, TwoTimes):
            modulation = modulation._replace(still=self.own(modulation.still, 1))
        cos, sin = rotary

        def exchanged(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (self.to_heads(z, length) for z in (q, k, v))
            return self.to_tokens(attend(i, q, k, v), length)

        return self.own(x, 1), modulation, (self.own(cos, 0), self.own(sin, 0)), exchanged

    def lengths(self, whole: int) -> list[int]:
        """How many of so many tokens each process computes."""
        return [whole // self.size + (rank < whole % self.size) for rank in range(self.size)]

    def own(self, x: Tensor, dim: int) -> Tensor:
        """This process's part of what is `x` along `dim`."""
        return x.split(self.lengths(x.shape[dim]), dim)[self.rank]

    def to_heads(self, x: Tensor, length: int) -> Tensor:
        """Own tokens (B, l, heads, d) to all tokens of the own heads (B, L, heads / size, d)."""
        batch, tokens, _, d = x.shape
        sent = torch.stack(x.chunk(self.size, 2))
        each = sent[0].numel()
        back = [each // tokens * n for n in self.lengths(length)]
        found = self._exchanged(sent, [each] * self.size, back)
        return torch.cat([part.view(batch, -1, sent.shape[3], d) for part in found], 1)

    def to_tokens(self, out: Tensor, length: int) -> Tensor:
        """What all tokens found with the own heads, (B, L, D / size), to what the own tokens found with all
        of them, (B, l, D)."""
        batch, _, width = out.shape
        lengths = self.lengths(length)
        sent = torch.cat([part.flatten() for part in out.split(lengths, 1)])
        back = batch * lengths[self.rank] * width
        found = self._exchanged(sent, [batch * n * width for n in lengths], [back] * self.size)
        return torch.cat([part.view(batch, -1, width) for part in found], 2)

    def whole(self, x: Tensor, length: int) -> Tensor:
        """All tokens (B, L, D) of the processes' own (B, l, D)."""
        lengths = self.lengths(length)
        numbers = [x.shape[0] * n * x.shape[2] for n in lengths]
        sent = x.flatten().repeat(self.size)
        found = self._exchanged(sent, [x.numel()] * self.size, numbers)
        return torch.cat([part.view(x.shape[0], -1, x.shape[2]) for part in found], 1)

    def total(self, x: Tensor) -> Tensor:
        """The sum over all processes of what each found with its heads."""
        found = x.clone()
        dist.all_reduce(found)
        return found

    def least(self, own: float) -> float:
        """The smallest of the numbers that the processes have."""
        found = [own] * self.size
        dist.all_gather_object(found, own)
        return min(found)

    def _exchanged(self, sent: Tensor, out: list[int], back: list[int]) -> tuple[Tensor, ...]:
        """What each process has sent to this one; `out` numbers go to each, `back` come from each."""
        found = sent.new_empty(sum(back))
        dist.all_to_all_single(found, sent.flatten(), back, out)
        return found.split(back)
