"""Words and pictures in one sequence, as Qwen3-VL reads them: its tokens, their places, and who hears whom.

A picture takes as many places as its longer side has tokens, and its own tokens are told apart by row and
column. Pictures that stand together begin at the same place and do not hear each other, so what comes after
hears them as a set: their order means nothing.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise, permutations
from typing import Any, NamedTuple

import torch
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor

from easel.model.latents import to_tensor

PATCH, MERGED = 16, 2  # pixels a side of a patch; patches a side that become one token
SIDE = 384  # pixels a side of a square as large as a picture may be


class Seen(NamedTuple):
    """A picture as the vision tower takes it."""

    patches: Tensor  # (N, 3 * 2 * 16 * 16)
    rows: int  # of patches
    columns: int
    weight: float = 1.0  # how loud it is beside those it stands with, above 0

    @property
    def tokens(self) -> int:
        return len(self.patches) // MERGED**2


class Together(NamedTuple):
    """Pictures that stand together."""

    pictures: Sequence[Seen]


Piece = list[int] | Together  # words as tokens, or pictures


def seen(picture: Image.Image, weight: float = 1.0) -> Seen:
    """A picture, made smaller if need be."""
    return Seen(*patches(picture), weight)


def patches(picture: Image.Image) -> tuple[Tensor, int, int]:
    """A picture as Qwen3-VL's vision tower takes it: patches (N, 3 * 2 * 16 * 16) in -1..1, those that become
    one token side by side and each twice, for two frames; their rows and columns."""
    token = PATCH * MERGED
    scale = min(1.0, SIDE / (picture.width * picture.height) ** 0.5)
    width, height = (max(1, round(length * scale / token)) * token for length in picture.size)
    x = 2 * to_tensor(picture.resize((width, height), Image.Resampling.BICUBIC))[0] - 1
    cut = rearrange(x, "c (h m p) (w n q) -> (h w m n) c p q", m=MERGED, n=MERGED, p=PATCH, q=PATCH)
    return repeat(cut, "k c p q -> k (c t p q)", t=2), height // PATCH, width // PATCH


def length(piece: Piece) -> int:
    """How many tokens a piece has."""
    return sum(one.tokens for one in piece.pictures) if isinstance(piece, Together) else len(piece)


def inputs(model: Any, pieces: Sequence[Piece]) -> dict[str, Tensor]:
    """What a Qwen3VLModel is given for `pieces`, one behind the other."""
    pixels = model.config.image_token_id
    tokens = [
        token
        for piece in pieces
        for token in ([pixels] * length(piece) if isinstance(piece, Together) else piece)
    ]
    given = {"input_ids": torch.tensor([tokens]), "position_ids": positions(pieces)[:, None]}
    shown = [one for piece in pieces if isinstance(piece, Together) for one in piece.pictures]
    if shown:
        given["pixel_values"] = torch.cat([one.patches for one in shown])
        given["image_grid_thw"] = torch.tensor([(1, one.rows, one.columns) for one in shown])
    if any(len(piece.pictures) > 1 for piece in pieces if isinstance(piece, Together)):
        given["attention_mask"] = hearing(pieces).to(model.dtype)
    return {name: value.to(model.device) for name, value in given.items()}


def positions(pieces: Sequence[Piece]) -> Tensor:
    """Time, row and column of each token for RoPE, (3, L)."""
    found, place = [], 0
    for piece in pieces:
        if isinstance(piece, Together):
            sides = [(one.rows // MERGED, one.columns // MERGED) for one in piece.pictures]
            for rows, columns in sides:
                y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
                found.append(place + torch.stack([torch.zeros_like(y), y, x]).flatten(1))
            place += max(max(side) for side in sides)
        else:
            found.append((place + torch.arange(len(piece))).expand(3, -1))
            place += len(piece)
    return torch.cat(found, 1)


def hearing(pieces: Sequence[Piece]) -> Tensor:
    """What is added to the logits from each token to each other, (1, 1, L, L): no token hears those behind
    it, nor a picture those it stands with, which the tokens behind hear by their weights."""
    ends = list(accumulate(map(length, pieces), initial=0))
    bias = torch.full((ends[-1], ends[-1]), -torch.inf).triu(1)
    for (start, end), piece in zip(pairwise(ends), pieces, strict=True):
        if isinstance(piece, Together):
            edges = accumulate((one.tokens for one in piece.pictures), initial=start)
            spans = [slice(*edge) for edge in pairwise(edges)]
            for one, other in permutations(spans, 2):
                bias[one, other] = -torch.inf
            for span, picture in zip(spans, piece.pictures, strict=True):
                bias[end:, span] = torch.tensor(picture.weight).log()
    return bias[None, None]
