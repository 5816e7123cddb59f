"""What follows what Qwen3-VL has heard, a token at a time: with half the operations that the network itself
takes for it, in memory that stays where it is, so that a GPU does all of them as one graph.
"""

import math
from collections.abc import Callable
from typing import Any

import structlog
import torch
import torch.nn.functional as F
from torch import Tensor

from easel.model.kernels import error

log = structlog.get_logger()

RUN = 64  # keys: the room for them is whole runs of so many, as kernels like it
ALIKE = 0.02  # how far a graph's outcome may be from the plain one, beside its size


class Following:
    """The states (D,) of up to `most` tokens that follow what is in `cache`, the first at RoPE's `place`.

    Where it may use `graphs`, a GPU is handed each token's operations as one.
    """

    def __init__(self, model: Any, cache: Any, place: int, most: int, graphs: bool = False) -> None:
        self._network, self._heard = model.language_model, cache.get_seq_length()
        room = math.ceil((self._heard + most) / RUN) * RUN
        self._kept = [(grown(layer.keys, room), grown(layer.values, room)) for layer in cache.layers]
        keys, _ = self._kept[0]
        self._bias = keys.new_full((1, 1, 1, room), -math.inf)
        self._bias[..., : self._heard] = 0
        places = torch.arange(place, place + most, device=keys.device)
        self._rotary = [turn[0] for turn in self._network.rotary_emb(keys, places[None, None])]
        self._token, self._said = places.new_zeros(1), places.new_zeros(1)
        self._run, self._graphs = self._next, graphs and keys.is_cuda

    def __call__(self, token: int) -> Tensor:
        """The state once `token` has followed too."""
        self._token.fill_(token)
        state = self._run()
        if self._graphs:
            self._graphs, self._run = False, replayed(self._next, state)
        self._said += 1
        return state

    def _next(self) -> Tensor:
        row = self._said + self._heard
        self._bias.index_fill_(-1, row, 0.0)
        rotary = [turn.index_select(0, self._said) for turn in self._rotary]
        x = self._network.embed_tokens(self._token)
        for layer, kept in zip(self._network.layers, self._kept, strict=True):
            x = x + attended(layer.self_attn, normed(layer.input_layernorm, x), rotary, kept, self._bias, row)
            x = x + layer.mlp(normed(layer.post_attention_layernorm, x))
        return normed(self._network.norm, x)[0]


def grown(z: Tensor, room: int) -> Tensor:
    """Keys or values (1, kv heads, L, d) with room for so many."""
    return F.pad(z, (0, 0, 0, room - z.shape[2]))


def attended(
    attention: Any, x: Tensor, rotary: list[Tensor], kept: tuple[Tensor, Tensor], bias: Tensor, row: Tensor
) -> Tensor:
    """What one token `x` (1, D) finds among those that are `kept`, itself put there in this row. The queries
    that share a head of keys stand where others have a sequence."""
    q, k, v = (
        z(x).view(1, -1, attention.head_dim) for z in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    turned = rotated(torch.cat([normed(attention.q_norm, q), normed(attention.k_norm, k)], 1), rotary)
    q, k = turned.split([q.shape[1], k.shape[1]], 1)
    keys, values = kept
    keys.index_copy_(2, row, k[:, :, None])
    values.index_copy_(2, row, v[:, :, None])
    found = F.scaled_dot_product_attention(q.unflatten(1, (k.shape[1], -1)), keys, values, attn_mask=bias)
    return attention.o_proj(found.flatten(1))


def rotated(z: Tensor, rotary: list[Tensor]) -> Tensor:
    """Queries or keys (1, heads, d), turned to their place."""
    cos, sin = rotary
    first, second = z.chunk(2, -1)
    return z * cos + torch.cat([-second, first], -1) * sin


def normed(norm: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def replayed(run: Callable[[], Tensor], wanted: Tensor) -> Callable[[], Tensor]:
    """`run` as one graph, if that gives what it gave; else itself."""
    try:
        again = captured(run, wanted.device)
        if error(again(), wanted) < ALIKE:
            return again
        reason = "its outcome is another"
    except RuntimeError as refused:
        reason = str(refused).partition("\n")[0]
    log.warning("No CUDA graph of a token (EASEL_COMPILE=off does not try)", reason=reason)
    return run


def captured(run: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """`run` as a CUDA graph; other threads may use the GPU meanwhile."""
    with torch.cuda.device(device):
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            out = run()

    def again() -> Tensor:
        graph.replay()
        return out

    return again
