"""python -m pytest tests/test_shared.py — style references through shared attention: its arithmetic."""

from itertools import permutations, product

import pytest
import tiny_krea
import torch
from diffusers import Krea2Transformer2DModel
from PIL import Image
from tiny_krea import rotary

from easel.engine.krea import Conditioning, times_of
from easel.engine.sampler import sample
from easel.model import flow, manner, shared
from easel.model.attention import attend, told, told_of
from easel.model.backend import PLAIN
from easel.model.transformer import fuse_text, grid, predict

T = torch.tensor([0.6])


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(0)
    network = tiny_krea.shaken(Krea2Transformer2DModel(**tiny_krea.TRANSFORMER | {"num_layers": 8}))
    return network.eval().requires_grad_(False)


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text(transformer, tokens: int, seed: int) -> torch.Tensor:
    return fuse_text(transformer, drawn(1, tokens, 3, 32, seed=seed))


def look(weight: float, rows: int = 4, columns: int = 4, seed: int = 1) -> tuple[torch.Tensor, float]:
    return drawn(1, 4, 2 * rows, 2 * columns, seed=seed), weight


def hearing(transformer, *looks: tuple[torch.Tensor, float]) -> torch.Tensor:
    nothing = text(transformer, 5, 8)
    heard = shared.ready(
        [(alike.weights, shared.listen(transformer, alike, nothing, T)) for alike in shared.looks_of(looks)]
    )
    return shared.predict(
        transformer, drawn(1, 24, 16, seed=0), T, text(transformer, 7, 9), rotary(transformer, 4, 6), heard
    )


def alone(transformer) -> torch.Tensor:
    return predict(
        transformer, drawn(1, 24, 16, seed=0), T, text(transformer, 7, 9), rotary(transformer, 4, 6)
    )


def test_without_weight_the_references_change_nothing_to_the_last_bit(transformer):
    assert torch.equal(hearing(transformer, look(0.0)), alone(transformer))


def test_influence_grows_with_strength_and_starts_from_nothing(transformer):
    plain = alone(transformer)
    strengths = (1e-4, 0.2, 0.5, 1.0, 1.5, 2.0)
    moved = [float((hearing(transformer, look(shared.weight_of(s))) - plain).norm()) for s in strengths]
    assert moved == sorted(moved)
    assert moved[0] < 1e-3 * moved[-1]


def test_a_reference_below_0_moves_the_other_way(transformer):
    plain = alone(transformer)
    towards, away = (hearing(transformer, look(weight)) - plain for weight in (0.05, -0.05))
    assert torch.cosine_similarity(towards.flatten(), away.flatten(), 0) < -0.8


def test_the_order_of_references_means_nothing(transformer):
    looks = [look(0.3, 4, 4, seed=1), look(0.5, 2, 6, seed=2), look(-0.2, 6, 4, seed=3)]
    found = [hearing(transformer, *order) for order in permutations(looks)]
    assert all(torch.allclose(found[0], other, atol=1e-5) for other in found)


def test_a_reference_twice_at_half_its_weight_is_one_reference(transformer):
    once, twice = hearing(transformer, look(0.6)), hearing(transformer, look(0.3), look(0.3))
    assert torch.allclose(once, twice, atol=1e-5)


def test_where_keys_do_not_turn_a_references_layout_means_nothing():
    """With only the first axis heard, tokens of a reference may change places."""
    q, k, v = (drawn(1, 10, heads, 16, seed=heads) for heads in (4, 2, 2))
    manners = [manner.manner_of(drawn(1, 6, heads, 16, seed=5)) for heads in (4, 2, 2)]
    still = torch.tensor([1.0] * 4 + [0.0] * 12)
    said = shared.Said(manners, still * drawn(1, 6, 2, 16, seed=6), drawn(1, 6, 2, 16, seed=7))
    order = torch.randperm(6)
    moved = shared.Said(manners, said.k[:, order], said.v[:, order])
    found = [shared.looked(PLAIN, q, k, v, 3, shared.group([(0.5, one)])) for one in (said, moved)]
    (weight, one), (_, other) = (found[0][0], found[1][0])
    assert weight == 0.5
    assert torch.allclose(one, other, atol=1e-6)


def test_a_reference_is_looked_at_as_if_its_keys_stood_behind_the_pictures_own():
    q, k, v = (drawn(1, 10, heads, 16, seed=heads) for heads in (4, 2, 2))
    manners = [manner.manner_of(drawn(1, 6, heads, 16, seed=5)) for heads in (4, 2, 2)]
    said = shared.Said(manners, drawn(1, 6, 2, 16, seed=6), drawn(1, 6, 2, 16, seed=7))
    ((_, found),) = shared.looked(PLAIN, q, k, v, 3, shared.group([(0.5, said)]))
    queries = manner.like(q[:, 3:], manners[0], manner.LIKE_KEYS)
    keys = [k[:, :3], manner.like(k[:, 3:], manners[1], manner.LIKE_KEYS), said.k]
    values = [v[:, :3], manner.like(v[:, 3:], manners[2], manner.LIKE_VALUES), said.v]
    assert torch.allclose(found, attend(queries, torch.cat(keys, 1), torch.cat(values, 1)), atol=1e-6)


def test_several_references_lend_the_picture_one_manner_between_them():
    some, others = (manner.manner_of(drawn(1, 6, 2, 16, seed=seed)) for seed in (5, 6))
    between = manner.blended([0.3, 0.1], [some, others])
    assert torch.allclose(between.mean, 0.75 * some.mean + 0.25 * others.mean)
    assert torch.allclose(between.spread, 0.75 * some.spread + 0.25 * others.spread)


@pytest.mark.parametrize("strength", [1.0, 0.8])
def test_three_steps_hear_what_is_said_at_the_middle_one_and_none_hears_noise(strength):
    shown, start = Image.new("RGB", (64, 64)), {"start": Image.new("RGB", (64, 64)), "strength": strength}
    asked = Conditioning("a fox", "", 64, 64, 0, "turbo", 8, 0.0, [(shown, 0.5)], **start)
    times = times_of(asked)
    turns = shared.turns_of(times.tolist())
    assert turns == ([None, 2, 2, 2, 5, 5, 5, 7] if strength == 1 else [1, 1, 1, 4, 4, 4, 6])
    listened: list[int] = []

    def listen(turn: int, t: torch.Tensor) -> list:
        listened.append(turn)
        assert t == times[turn]
        return [turn]

    hear = shared.hearing(times, turns, listen)
    assert [list(hear(step, times[step])) for step in range(len(turns))] == [
        [] if turn is None else [turn] for turn in turns
    ]
    assert listened == sorted({turn for turn in turns if turn is not None})


def test_attention_that_tells_of_its_weights_is_the_same_head_by_head():
    q, k, v = (drawn(2, length, heads, 16, seed=heads) for length, heads in ((5, 4), (9, 2), (9, 2)))
    out, total = told(q, k, v)
    assert torch.allclose(out.flatten(2), attend(q, k, v), atol=1e-6)
    for head in range(4):
        alone, alone_total = told_of(q[:, :, head], k[:, :, head // 2], v[:, :, head // 2])
        assert torch.allclose(out[:, :, head], alone, atol=1e-6)
        assert torch.allclose(total[:, :, head], alone_total, atol=1e-6)


def test_what_turns_fast_is_silent_and_what_turns_slowly_is_loudest():
    loud = shared.loudness((32, 48, 48), torch.device("cpu"), torch.float32)
    assert loud.shape == (128,)
    assert loud[32:34].tolist() == [shared.FAST] * 2
    assert loud[78:80].tolist() == pytest.approx([shared.LOUD * shared.SLOW] * 2)
    assert loud[32:80].tolist() == sorted(loud[32:80].tolist())


def test_statistics_are_taken_over_as_far_as_asked():
    x, other = drawn(1, 50, 2, 8, seed=1), 3 * drawn(1, 70, 2, 8, seed=2) + 5
    whole = manner.like(x, manner.manner_of(other), 1.0)
    assert torch.allclose(whole.mean(1), other.mean(1), atol=1e-4)
    assert torch.allclose(whole.std(1), other.std(1), atol=1e-4)
    assert torch.equal(manner.like(x, manner.manner_of(other), 0.0), x)


def test_away_from_a_reference_no_token_grows():
    own, other = drawn(1, 10, 64, seed=1), 9 * drawn(1, 10, 64, seed=2)
    moved = shared.mixed(own, [(-0.5, other)])
    assert (moved.norm(dim=-1) <= own.norm(dim=-1) * 1.0001).all()


def test_weights_rise_with_strength_and_together_come_to_no_more_than_1():
    weights = [shared.weight_of(s / 10) for s in range(-20, 21)]
    assert weights == sorted(set(weights))
    assert (weights[0], weights[20], weights[-1]) == (-0.5, 0, 1)
    for one, two in product((0.1, 0.5, 1.0), repeat=2):
        assert sum(shared.balanced([one, two])) <= 1 + 1e-9
    assert shared.balanced([0.5, -0.5, 0.25]) == [0.5, -0.5, 0.25]
    assert shared.balanced([1, 1, -0.5]) == [0.5, 0.5, -0.5]


def test_the_sampler_hears_references_with_and_without_guidance(transformer):
    def end(*looks: tuple[torch.Tensor, float], guidance: float = 0.0) -> torch.Tensor:
        words, nothing = text(transformer, 7, 9), text(transformer, 5, 8)
        times = flow.timesteps(3, 1.15)
        seen = shared.looks_of(looks)
        return sample(
            transformer,
            drawn(1, 24, 16, seed=0),
            times,
            words,
            grid(4, 6),
            negative=nothing,
            guidance=guidance,
            hear=lambda step, t: shared.ready(
                [(x.weights, shared.listen(transformer, x, nothing, t)) for x in seen]
            ),
        )

    for guidance in (0.0, 3.5):
        assert torch.equal(end(guidance=guidance), end(look(0.0), guidance=guidance))
        assert not torch.allclose(end(guidance=guidance), end(look(0.5), guidance=guidance), atol=1e-2)
