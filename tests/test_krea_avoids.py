"""python -m pytest tests/test_krea_avoids.py — what is to be avoided, where there is no guidance."""

import pytest
import tiny_krea
import torch
from diffusers import Krea2Transformer2DModel
from PIL import Image
from safetensors.torch import save_file
from tiny_krea import rotary

from easel.catalog import MODELS
from easel.engine.sampler import sample
from easel.model import flow, in_context, shared
from easel.model.attention import attend
from easel.model.block import TwoTimes, finished, projected
from easel.model.nag import ALPHA, PHI, TAU, guided
from easel.model.transformer import embed_time, fuse_text, grid, predict
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Materials, Mood, Reference
from easel.settings import KreaSources
from easel.style.krea import KreaPainter

T = torch.tensor([0.6])


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(0)
    return tiny_krea.shaken(Krea2Transformer2DModel(**tiny_krea.TRANSFORMER)).eval().requires_grad_(False)


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text(transformer, tokens: int = 7, seed: int = 9) -> torch.Tensor:
    return fuse_text(transformer, noise(1, tokens, 3, 32, seed=seed))


def look(weight: float) -> shared.Looks:
    return shared.Looks(noise(1, 16, 16, seed=1), noise(1, 16, 16, seed=42), grid(4, 4), [weight])


X = noise(1, 24, 16, seed=0)


def ours(transformer, avoided: torch.Tensor | None, *looks: shared.Looks) -> torch.Tensor:
    nothing = text(transformer, 5, 8)
    heard = shared.ready([(one.weights, shared.listen(transformer, one, nothing, T)) for one in looks])
    return shared.predict(transformer, X, T, text(transformer), rotary(transformer, 4, 6), heard, avoided)


def plainly(transformer, avoided: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
    """The same with two sequences, of which the picture's part is kept the same."""
    words, refs = text(transformer), context if context is not None else X[:, :0]
    time, now = embed_time(transformer, T, X.dtype)
    _, clean = embed_time(transformer, torch.zeros(1), X.dtype)

    def run(block, hidden: torch.Tensor, words: int) -> tuple:
        places = torch.cat([torch.zeros(words, 3), grid(4, 6), grid(2, 2, 1)[: refs.shape[1]]])
        still = (torch.arange(len(places)) >= words + 24)[None, :, None]
        times = TwoTimes(now, clean, still)
        q, k, v, gate = projected(block, hidden, times, transformer.rotary_emb(places))
        return attend(q, k, v), gate, times

    hidden = torch.cat([words, transformer.img_in(torch.cat([X, refs], 1))], 1)
    shunned, n = avoided, avoided.shape[1]
    for block in transformer.transformer_blocks:
        beside = torch.cat([shunned, hidden[:, 7:]], 1)
        out, gate, times = run(block, hidden, 7)
        other, other_gate, others = run(block, beside, n)
        moved = guided(out[:, 7:31], other[:, n : n + 24])
        hidden = finished(block, hidden, torch.cat([out[:, :7], moved, out[:, 31:]], 1), gate, times)
        shunned = finished(block, beside, other, other_gate, others)[:, :n]
    return transformer.final_layer(hidden[:, 7:31], time)


def test_where_nothing_differs_nothing_moves_to_the_last_bit():
    one, other = noise(1, 10, 64, seed=1), noise(1, 10, 64, seed=2)
    for kind in (torch.float32, torch.bfloat16):
        assert torch.equal(guided(one.to(kind), one.to(kind)), one.to(kind))
        assert torch.equal(guided(one.to(kind), other.to(kind), phi=0), one.to(kind))


def test_tokens_move_straight_away_from_what_is_avoided():
    one = noise(1, 10, 64, seed=1)
    near = one + 0.01 * noise(1, 10, 64, seed=2)
    assert torch.allclose(guided(one, near), one + ALPHA * PHI * (one - near), atol=1e-6)


def test_no_token_grows_beyond_what_is_allowed():
    one, far = noise(1, 10, 64, seed=1), 50 * noise(1, 10, 64, seed=2)
    found = guided(one, far)
    moved = (found - (1 - ALPHA) * one) / ALPHA
    assert torch.allclose(moved.abs().sum(-1), TAU * one.abs().sum(-1), rtol=1e-4)
    assert (found.abs().sum(-1) <= (1 - ALPHA + ALPHA * TAU) * one.abs().sum(-1) * 1.0001).all()
    away = one + PHI * (one - far)
    assert torch.cosine_similarity(moved, away, -1).min() > 0.9999


def test_it_moves_the_further_the_further_it_is_asked():
    one, other = noise(1, 10, 64, seed=1), noise(1, 10, 64, seed=2)
    moved = [float((guided(one, other, phi, 100.0) - one).norm()) for phi in (0, 0.5, 1, 2, 4, 8)]
    assert moved == sorted(set(moved))


def test_tokens_that_found_nothing_stay_numbers():
    none = torch.zeros(1, 4, 8)
    for one, other in ((none, none), (none, none + 1), (none + 1, none)):
        assert guided(one, other).isfinite().all()


def test_one_sequence_gives_what_two_would(transformer):
    for tokens in (1, 4, 11):
        avoided = text(transformer, tokens, 3)
        assert (ours(transformer, avoided) - plainly(transformer, avoided)).abs().max() < 1e-5


def test_beside_references_in_context_too(transformer):
    z, avoided = noise(1, 4, 4, 4, seed=5), text(transformer, 4, 3)
    context = in_context.context_of([(z, 1.0)])
    mine = in_context.predict(
        transformer, X, T, text(transformer), rotary(transformer, 4, 6, context.positions), context, avoided
    )
    assert (mine - plainly(transformer, avoided, context.tokens)).abs().max() < 1e-5
    loud = in_context.context_of([(z, 0.5)])
    other = in_context.predict(
        transformer, X, T, text(transformer), rotary(transformer, 4, 6, loud.positions), loud, avoided
    )
    assert not torch.allclose(mine, other, atol=1e-3)


def test_to_avoid_what_is_asked_for_changes_nothing(transformer):
    plain = predict(transformer, X, T, text(transformer), rotary(transformer, 4, 6))
    assert torch.allclose(ours(transformer, text(transformer)), plain, atol=1e-5)
    assert not torch.allclose(ours(transformer, text(transformer, 4, 3)), plain, atol=1e-3)


def test_beside_shared_attention_both_act(transformer):
    avoided = text(transformer, 4, 3)
    alone = ours(transformer, avoided)
    assert torch.equal(ours(transformer, avoided, look(0.0)), alone)
    both = ours(transformer, avoided, look(0.5))
    for other in (alone, ours(transformer, None, look(0.5))):
        assert not torch.allclose(both, other, atol=1e-3)


def test_the_sampler_takes_the_plain_way_without_anything_to_avoid(transformer):
    def end(avoided: torch.Tensor | None) -> torch.Tensor:
        times = flow.timesteps(2, 1.15)
        return sample(transformer, X, times, text(transformer), grid(4, 6), avoided=avoided)

    assert not torch.allclose(end(None), end(text(transformer, 4, 3)), atol=1e-3)


@pytest.mark.usefixtures("small")
def test_what_a_board_avoids_acts_with_every_scheme_and_on_every_model(tiny_turbo, tiny_raw, tmp_path):
    lora = {
        f"diffusion_model.blocks.0.attn.wq.lora_{half}.weight": noise(*size, seed=1)
        for half, size in (("A", (4, 64)), ("B", (64, 4)))
    }
    save_file(lora, tmp_path / "style.safetensors")
    red = [Reference(Image.new("RGB", (64, 64), "red"), 0.5)]
    request = GenerationRequest(prompt="a fox", creativity="raw")
    for style_lora in (None, str(tmp_path / "style.safetensors")):
        painter = KreaPainter.load(KreaSources(str(tiny_turbo), str(tiny_raw), str(tiny_turbo), style_lora))
        for route in ("medium", "large"):
            for references in ([], red):
                plain, empty, moved = (
                    painter.paint(request, Materials(references, mood), MODELS[route], 7, lambda step: None)
                    for mood in (Mood(), Mood(["ink"]), Mood(["ink"], ["photograph", "neon"]))
                )
                assert plain.image.tobytes() == empty.image.tobytes() != moved.image.tobytes()
                by_guidance = moved.details["negative_prompt"], moved.details["avoided_in_attention"]
                words = "photograph, neon"
                assert by_guidance == ((None, words) if route == "medium" else (words, None))
