"""python -m pytest tests/test_sampler.py — our loop on Krea 2's transformer, beside diffusers' own
pipeline."""

import pytest
import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    Krea2Pipeline,
    Krea2Transformer2DModel,
)
from tiny_krea import TRANSFORMER, rotary

from easel.engine.sampler import sample
from easel.model import flow, latents
from easel.model.attention import attend
from easel.model.transformer import References, fuse_text, grid, predict, read_references

TINY = TRANSFORMER | {"num_layers": 2}


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(0)
    return Krea2Transformer2DModel(**TINY).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pipeline(transformer):
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], latents_mean=[0.0] * 4, latents_std=[1.0] * 4
    )
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, max_image_seq_len=6400)
    made = Krea2Pipeline(scheduler, vae, None, None, transformer)
    made.set_progress_bar_config(disable=True)
    return made


def prompt(tokens: int = 7, seed: int = 1) -> torch.Tensor:
    return torch.randn(1, tokens, 3, 32, generator=torch.Generator().manual_seed(seed))


def ours(transformer, width, height, steps, seed, text, **options):
    rows, columns = height // 16, width // 16
    noise = latents.noise(seed, 4, 2 * rows, 2 * columns, patch=2)
    times = flow.timesteps(steps, flow.shift_of(rows * columns))
    return sample(transformer, noise, times, text, grid(rows, columns), **options)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (160, 96), (96, 160), (784, 336)])
@pytest.mark.parametrize("guidance", [0.0, 3.5])
def test_the_loop_follows_the_pipeline_of_diffusers(pipeline, transformer, width, height, guidance):
    mask = torch.ones(1, 7, dtype=torch.bool)
    theirs = pipeline(
        prompt_embeds=prompt(),
        prompt_embeds_mask=mask,
        negative_prompt_embeds=prompt(seed=2),
        negative_prompt_embeds_mask=mask,
        width=width,
        height=height,
        num_inference_steps=4,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
    ).images
    negative = fuse_text(transformer, prompt(seed=2)) if guidance else None
    text = fuse_text(transformer, prompt())
    mine = ours(transformer, width, height, 4, 5, text, negative=negative, guidance=guidance)
    assert (mine - theirs).abs().max() < 1e-4


def test_padding_behind_a_mask_changes_nothing(transformer):
    short, padded = prompt(5), torch.cat([prompt(5), prompt(4, seed=9)], 1)
    mask = torch.tensor([[True] * 5 + [False] * 4])
    x, t = torch.randn(1, 16, 16), torch.tensor([0.6])
    plain = predict(transformer, x, t, fuse_text(transformer, short), rotary(transformer, 4, 4))
    masked = predict(
        transformer, x, t, fuse_text(transformer, padded, mask), rotary(transformer, 4, 4), text_mask=mask
    )
    assert torch.allclose(plain, masked, atol=1e-5)


def test_a_fainter_reference_moves_the_flow_less(transformer):
    x, t, text = torch.randn(1, 16, 16), torch.tensor([0.6]), fuse_text(transformer, prompt())
    reference = [torch.randn(1, 16, 4, 4)]
    without = predict(transformer, x, t, text, rotary(transformer, 4, 4))

    def moved(strength: float) -> float:
        read = read_references(transformer, reference, torch.tensor([[strength]]))
        return float((predict(transformer, x, t, text, rotary(transformer, 4, 4), read) - without).norm())

    ladder = [moved(s) for s in (1e-6, 0.1, 0.5, 1.0, 2.0)]
    assert ladder == sorted(ladder)
    assert ladder[0] < 1e-4 < ladder[-1]


def test_the_strengths_of_references_are_shares_of_attention(transformer):
    """One reference twice at half strength is heard as once at full strength, but for its frame."""
    x, t, text = torch.randn(1, 16, 16), torch.tensor([0.6]), fuse_text(transformer, prompt())
    once = read_references(transformer, [torch.randn(1, 16, 4, 4)], torch.ones(1, 1))
    half = once.bias + torch.tensor(0.5).log()
    twice = References(
        tuple(torch.cat([k, k], 1) for k in once.keys),
        tuple(torch.cat([v, v], 1) for v in once.values),
        torch.cat([half, half], 1),
    )
    one = predict(transformer, x, t, text, rotary(transformer, 4, 4), once)
    assert torch.allclose(one, predict(transformer, x, t, text, rotary(transformer, 4, 4), twice), atol=1e-5)


def test_references_can_come_in_any_order_but_for_their_frames(transformer):
    x, t, text = torch.randn(1, 16, 16), torch.tensor([0.6]), fuse_text(transformer, prompt())
    read = read_references(
        transformer, [torch.randn(1, 16, 4, 4), torch.randn(1, 16, 2, 6)], torch.tensor([[1.0, 0.4]])
    )
    order = torch.randperm(read.bias.shape[1])
    mixed = References(
        tuple(k[:, order] for k in read.keys), tuple(v[:, order] for v in read.values), read.bias[:, order]
    )
    one = predict(transformer, x, t, text, rotary(transformer, 4, 4), read)
    assert torch.allclose(one, predict(transformer, x, t, text, rotary(transformer, 4, 4), mixed), atol=1e-5)


def test_grouped_heads_are_repeated_in_the_order_that_kernels_take_them_in():
    q, k, v = (torch.randn(1, 9, heads, 16) for heads in (8, 2, 2))
    grouped = torch.nn.functional.scaled_dot_product_attention(
        *(z.transpose(1, 2) for z in (q, k, v)), enable_gqa=True
    )
    assert torch.allclose(attend(q, k, v, None), grouped.transpose(1, 2).flatten(2), atol=1e-6)


def test_a_step_that_raises_ends_the_sampling(transformer):
    seen = []

    def stop(step: int, tokens: torch.Tensor) -> None:
        seen.append(step)
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ours(transformer, 64, 64, 6, 1, fuse_text(transformer, prompt()), on_step=stop)
    assert seen == [1, 2]
