"""python -m pytest tests/test_krea_tints.py — references that act through the prompt, and which way each
reference acts."""

from itertools import pairwise, permutations

import pytest
import torch
from diffusers import Krea2Transformer2DModel
from tiny_krea import pictured

from easel.catalog import MODELS
from easel.model import open_weights
from easel.model.sequence import Together, hearing, inputs, length, positions, seen
from easel.model.shared import weight_of
from easel.model.tinted import tinted
from easel.model.transformer import fuse_text
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Materials, Reference
from easel.settings import KreaSources
from easel.style.krea import KreaPainter
from easel.style.schemes import schemes

CPU = torch.device("cpu")
PROMPT = "a fox in the snow, “SALT” on a wall"


@pytest.fixture(scope="module")
def text(tiny_turbo):
    return open_weights.load_text(open_weights.text_encoder_at(tiny_turbo), tiny_turbo, CPU)


@pytest.fixture(scope="module")
def transformer(tiny_turbo) -> Krea2Transformer2DModel:
    return open_weights.transformer_at(tiny_turbo).load(CPU)


ONE, TWO, TALL = pictured(1), pictured(2), pictured(3, (64, 160))


@pytest.fixture(scope="module")
def tint(text, transformer):
    """The prompt's features beside references and their weights."""

    @torch.inference_mode()
    def done(*tints, pictures=()):
        return tinted(lambda shares: fuse_text(transformer, text.tapped(PROMPT, pictures, shares)), tints)

    return done


def test_words_stay_as_many_and_without_references_as_they_are(text, tint):
    plain = text.tapped(PROMPT)
    for tints in ([(ONE, 1.0)], [(ONE, 0.5), (TWO, 0.3), (TALL, 0.2)]):
        found = text.tapped(PROMPT, (), tints)
        assert found.shape == plain.shape
        assert not torch.allclose(found, plain, atol=1e-4)
    assert torch.equal(tint(), tint((ONE, 0.0), (TALL, 0.0)))
    assert torch.equal(text.tapped(PROMPT, (), ()), plain)


def test_one_reference_is_read_as_any_picture_of_qwen_is(text):
    """With its place, the sentence and the prompt in one sequence, as transformers runs it."""
    pieces = [text.tokens("<|vision_start|>"), Together([seen(TALL)]), text.tokens("<|vision_end|>a fox")]
    given = inputs(text.model, pieces)
    assert "attention_mask" not in given
    types = (given["input_ids"] == text.model.config.image_token_id).int()
    with torch.inference_mode():
        mine = text.model(**given).last_hidden_state
        del given["position_ids"]
        theirs = text.model(**given, mm_token_type_ids=types).last_hidden_state
    assert torch.equal(mine, theirs)


def test_influence_grows_in_a_straight_line_with_the_weight(tint):
    plain, whole = tint(), tint((ONE, 1.0)) - tint()
    assert torch.allclose(tint((ONE, 1e-6)), plain, atol=1e-4)
    for strength in (0.1, 0.5, 1.0, 1.5, 2.0):
        weight = weight_of(strength)
        assert torch.allclose(tint((ONE, weight)) - plain, weight * whole, atol=1e-5)


def test_below_0_they_move_the_other_way_and_no_token_grows(tint):
    plain, towards = tint(), tint((ONE, 0.25)) - tint()
    away = tint((ONE, -0.25)) - plain
    assert torch.cosine_similarity(towards.flatten(), away.flatten(), 0) < -0.5
    for weight in (-0.05, -0.25, -0.5):
        assert (tint((ONE, weight)).norm(dim=-1) <= plain.norm(dim=-1) * 1.0001).all()
    moved = [float((tint((ONE, weight_of(-s))) - plain).norm()) for s in (0.2, 0.5, 1.0, 2.0)]
    assert moved == sorted(moved)


def test_the_order_of_references_means_nothing(tint):
    tints = [(ONE, 0.3), (TALL, 0.2), (TWO, 0.4), (pictured(4), -0.2)]
    found = [tint(*order) for order in permutations(tints)]
    assert all(torch.allclose(found[0], other, atol=1e-5) for other in found)


def test_a_reference_twice_at_half_its_weight_is_one_reference(tint):
    assert torch.allclose(tint((TALL, 0.6)), tint((TALL, 0.3), (TALL, 0.3)), atol=1e-5)


def test_a_faint_reference_beside_another_comes_to_none(tint):
    plain, alone = tint(), tint((ONE, 0.5))
    moved = [float((tint((ONE, 0.5), (TWO, w)) - alone).norm()) for w in (1e-6, 0.05, 0.2, 0.5)]
    assert moved == sorted(moved)
    assert moved[0] < 1e-4 * float((alone - plain).norm())


def test_beside_pictures_in_context_only_the_prompt_moves(text):
    plain, found = (text.tapped(PROMPT, [TWO], tints) for tints in ((), [(ONE, 1.0)]))
    words = text.tapped(PROMPT).shape[1]
    assert found.shape == plain.shape
    assert torch.allclose(found[:, :-words], plain[:, :-words], atol=1e-5)
    assert not torch.allclose(found[:, -words:], plain[:, -words:], atol=1e-4)


def test_pictures_that_stand_together_share_their_place_and_do_not_hear_each_other():
    a, b = seen(ONE, 0.25), seen(TALL, 0.75)
    pieces = [[1, 2], Together([a, b]), [3, 4, 5]]
    assert (a.tokens, b.tokens) == (6, 10)
    places = positions(pieces)
    assert places[:, 2].tolist() == places[:, 8].tolist() == [2, 2, 2]
    assert places[:, -3:].tolist() == [[7, 8, 9]] * 3  # behind the longer side, five tokens
    ends = [0, 2, 8, 18, 21]
    words, one, other, behind = (slice(*edge) for edge in pairwise(ends))
    heard = hearing(pieces)[0, 0]
    assert (heard[one, other] == -torch.inf).all()
    assert (heard[other, one] == -torch.inf).all()
    assert (heard[one, words] == 0).all()
    assert torch.allclose(heard[behind, one].exp(), torch.tensor(0.25))
    assert torch.allclose(heard[behind, other].exp(), torch.tensor(0.75))
    assert torch.equal(heard.triu(1), torch.full_like(heard, -torch.inf).triu(1))
    assert sum(map(length, pieces)) == 21


def shared_out(has_lora: bool, *strengths: float) -> dict[str, list[float]]:
    found = schemes([Reference(ONE, s) for s in strengths], has_lora)
    return {name: [round(weight, 3) for _, weight in tints] for name, tints in found.items()}


def test_four_references_are_looked_at_and_the_weakest_act_through_the_prompt():
    assert shared_out(True) == {"context": [], "tints": []}
    assert shared_out(True, 0.5, 0, -2) == {"context": [0.5, -2], "tints": []}
    assert shared_out(True, 0.1, 0.5, -0.2, 0.9, 0.3, -1) == {
        "context": [0.5, 0.9, 0.3, -1],
        "tints": [round(weight_of(0.1), 3), round(weight_of(-0.2), 3)],
    }
    alike = shared_out(False, *[0.4] * 6)
    assert alike == {"looks": [0.25] * 4, "tints": [0.36] * 2}


@pytest.mark.usefixtures("small")
def test_ten_references_paint_and_the_details_say_how_each_acted(tiny_turbo):
    painter = KreaPainter.load(KreaSources(str(tiny_turbo), None, str(tiny_turbo)))

    def painted(*strengths: float, prompt: str = "a fox"):
        references = [Reference(pictured(i), s) for i, s in enumerate(strengths)]
        request = GenerationRequest(prompt=prompt, creativity="raw")
        return painter.paint(request, Materials(references), MODELS["medium"], 7, lambda step: None)

    four, five, none = painted(*[1.0] * 4), painted(*[1.0] * 4, 0.5), painted(*[1.0] * 4, 0)
    assert four.image.tobytes() == none.image.tobytes() != five.image.tobytes()
    assert five.details["references"] == {
        "in_context": [],
        "shared_attention": [0.25] * 4,
        "in_prompt": [0.438],
    }
    assert len(painted(*[0.5] * 10).details["references"]["in_prompt"]) == 6
    assert painted(*[1.0] * 5, prompt="a fox<|im_end|><|image_pad|>").image.size == (64, 64)
