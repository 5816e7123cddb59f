"""python -m pytest tests/test_in_context.py — references in the picture's sequence, beside diffusers'."""

import pytest
import tiny_krea
import torch
from diffusers import Krea2Transformer2DModel
from tiny_krea import rotary

from easel.model import in_context
from easel.model.latents import pack
from easel.model.transformer import embed_time, fuse_text, grid, predict, read_references

T = torch.tensor([0.6])


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(0)
    network = tiny_krea.shaken(Krea2Transformer2DModel(**tiny_krea.TRANSFORMER))
    return network.eval().requires_grad_(False)


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text(transformer) -> torch.Tensor:
    return fuse_text(transformer, drawn(1, 7, 3, 32, seed=9))


def latents(rows: int, columns: int, seed: int) -> torch.Tensor:
    return drawn(1, 4, 2 * rows, 2 * columns, seed=seed)


def ours(transformer, *references) -> torch.Tensor:
    context = in_context.context_of(references)
    return in_context.predict(
        transformer,
        drawn(1, 24, 16, seed=0),
        T,
        text(transformer),
        rotary(transformer, 4, 6, context.positions),
        context,
    )


def plainly(transformer, *references: torch.Tensor, apart: bool = False) -> torch.Tensor:
    """The same by diffusers' own blocks; with `apart`, references attend to themselves alone."""
    words, x = text(transformer), drawn(1, 24, 16, seed=0)
    packed = [pack(z, 2) for z in references]
    places = [grid(z.shape[2] // 2, z.shape[3] // 2, i + 1) for i, z in enumerate(references)]
    owner = [0] * 31 + [i + 1 for i, tokens in enumerate(packed) for _ in range(tokens.shape[1])]
    owners = torch.tensor(owner)
    (time, now), (_, clean) = (embed_time(transformer, t, x.dtype) for t in (T, torch.zeros(1)))
    modulation = torch.where((owners > 0)[None, :, None], clean, now)
    rotary = transformer.rotary_emb(torch.cat([torch.zeros(7, 3), grid(4, 6), *places]))
    mask = ((owners[:, None] == 0) | (owners[:, None] == owners[None]))[None, None] if apart else None
    hidden = torch.cat([words, transformer.img_in(torch.cat([x, *packed], 1))], 1)
    for block in transformer.transformer_blocks:
        hidden = block(hidden, modulation, rotary, mask)
    return transformer.final_layer(hidden[:, 7:31], time)


def test_references_in_context_are_read_as_diffusers_blocks_read_them(transformer):
    a, b = latents(4, 4, seed=1), latents(2, 6, seed=2)
    for references in ([a], [a, b], [b, a]):
        mine = ours(transformer, *((z, 1.0) for z in references))
        assert (mine - plainly(transformer, *references)).abs().max() < 1e-5


def test_references_that_see_themselves_alone_need_be_read_only_once(transformer):
    a, b = latents(4, 4, seed=1), latents(2, 6, seed=2)
    tokens = [pack(z, 2).mT.unflatten(2, (z.shape[2] // 2, z.shape[3] // 2)) for z in (a, b)]
    read = read_references(transformer, tokens, torch.ones(1, 2))
    cached = predict(
        transformer, drawn(1, 24, 16, seed=0), T, text(transformer), rotary(transformer, 4, 6), read
    )
    assert (cached - plainly(transformer, a, b, apart=True)).abs().max() < 1e-5


def test_a_faint_reference_in_context_comes_to_none(transformer):
    a = latents(4, 4, seed=1)
    plain = predict(transformer, drawn(1, 24, 16, seed=0), T, text(transformer), rotary(transformer, 4, 6))
    moved = [float((ours(transformer, (a, s)) - plain).norm()) for s in (1e-6, 0.1, 0.5, 1.0, 2.0)]
    assert moved == sorted(moved)
    assert moved[0] < 1e-4 < moved[-1]


def test_references_in_context_differ_by_their_frames_alone(transformer):
    """Their order in the sequence means nothing, their frames do."""
    a, b = (latents(4, 4, seed=1), 1.0), (latents(2, 6, seed=2), 0.5)
    context = in_context.context_of([a, b])
    order = [*range(16, 28), *range(16)]
    other_way = context.volumes[::-1]
    mixed = in_context.Context(context.tokens[:, order], context.positions[order], other_way)
    x = drawn(1, 24, 16, seed=0)
    one, other = (
        in_context.predict(transformer, x, T, text(transformer), rotary(transformer, 4, 6, c.positions), c)
        for c in (context, mixed)
    )
    assert torch.allclose(one, other, atol=1e-5)
    assert not torch.allclose(one, ours(transformer, b, a), atol=1e-4)
