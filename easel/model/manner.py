"""The manner of tokens, their mean and spread, and other tokens that take it: AdaIN, arXiv 1703.06868."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LIKE_KEYS, LIKE_VALUES = 0.85, 0.65  # how far queries and keys, and values, take another manner


class Manner(NamedTuple):
    """Mean and spread over tokens, (n, 1, heads, head dim) each."""

    mean: Tensor
    spread: Tensor


Manners = Sequence[Manner]  # of queries, keys and values


def manner_of(x: Tensor) -> Manner:
    """The manner of `x` (n, N, heads, d)."""
    return Manner(x.mean(1, keepdim=True), x.std(1, keepdim=True))


def blended(weights: Sequence[float], manners: Sequence[Manner]) -> Manner:
    """The mean of manners by their weights, which have one sign."""
    shares = [weight / sum(weights) for weight in weights]
    return Manner(*(weighted(shares, alike) for alike in zip(*manners, strict=True)))


def weighted(weights: Sequence[float], parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors by their weights, in as few operations as there are."""
    total = weights[0] * parts[0]
    for weight, part in zip(weights[1:], parts[1:], strict=True):
        total = total.add(part, alpha=weight)
    return total


def like(x: Tensor, other: Manner, share: float) -> Tensor:
    """`x` (1, N, heads, d) brought by `share` to another manner (eq. 8), as one product and one sum a
    number."""
    own = manner_of(x)
    scale = other.spread / (own.spread + 1e-6)
    return torch.addcmul(share * (other.mean - own.mean * scale), x, 1 - share + share * scale)


def taken(q: Tensor, k: Tensor, v: Tensor, words: int, manners: Manners) -> tuple[Tensor, Tensor, Tensor]:
    """The picture's queries, and all keys and values, where the picture has taken these manners and its
    prompt of so many words has not."""
    like_q, like_k, like_v = manners
    return (
        like(q[:, words:], like_q, LIKE_KEYS),
        torch.cat([k[:, :words], like(k[:, words:], like_k, LIKE_KEYS)], 1),
        torch.cat([v[:, :words], like(v[:, words:], like_v, LIKE_VALUES)], 1),
    )
