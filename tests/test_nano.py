"""python -m pytest tests/test_nano.py — the checkpoint that ships, from request to picture."""

import json
import random
import shutil

import numpy as np
import pytest
from PIL import Image

from easel.catalog import MODELS, SIZES, Model
from easel.errors import Cancelled, CheckpointError
from easel.model import krea2
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Materials, Reference, Step
from easel.style.painter import SHIPPED, NanoPainter
from easel.style.references import DETAIL, most_textured, reference_sheet, shown, together

QUICK = Model("quick", "Quick", "turbo", 2, 0.0, MODELS["medium"].prices)


def spots(colour: str, ground: str) -> Image.Image:
    """A picture of dots in two colours."""
    picture, rng = Image.new("RGB", (640, 480), ground), random.Random(1)
    for _ in range(60):
        x, y = rng.randrange(600), rng.randrange(440)
        picture.paste(colour, (x, y, x + 40, y + 40))
    return picture


def paint(
    painter: NanoPainter, prompt: str = "a fox", references=(), seed: int = 7, model: Model = QUICK, **request
):
    asked = GenerationRequest(prompt=prompt, creativity="raw", **request)
    shown = [Reference(picture, strength) for picture, strength in references]
    return painter.paint(asked, Materials(shown), model, seed, lambda step: None)


@pytest.fixture(scope="module")
def plain(painter) -> Image.Image:
    """What is painted of the prompt alone."""
    return paint(painter).image


def mean_colour(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=np.float64).mean((0, 1))


@pytest.mark.parametrize("aspect_ratio", SIZES)
def test_every_aspect_ratio_comes_out_at_its_exact_size(painter, aspect_ratio):
    one_step = Model("one", "One", "turbo", 1, 0.0, {})
    assert paint(painter, model=one_step, aspect_ratio=aspect_ratio).image.size == SIZES[aspect_ratio]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_picture(painter, plain):
    again, other = (paint(painter, seed=seed).image.tobytes() for seed in (7, 8))
    assert plain.tobytes() == again
    assert plain.tobytes() != other


def test_a_reference_of_strength_0_is_no_reference_bit_for_bit(painter, plain):
    with_it = paint(painter, references=[(spots("#c1121f", "#fdf0d5"), 0)])
    assert with_it.image.tobytes() == plain.tobytes()


def test_a_stronger_reference_moves_the_palette_further(painter):
    reference = spots("#7b2cbf", "#240046")
    target = mean_colour(reference)
    ladder = [paint(painter, references=[(reference, s)], model=MODELS["medium"]).image for s in (0, 0.3, 1)]
    distances = [float(np.linalg.norm(mean_colour(picture) - target)) for picture in ladder]
    assert distances == sorted(distances, reverse=True)
    assert distances[2] < 0.8 * distances[0]


def test_a_negative_strength_pushes_away_from_the_reference(painter, plain):
    reference = spots("#7b2cbf", "#240046")
    target = mean_colour(reference)
    away = mean_colour(paint(painter, references=[(reference, -0.5)]).image)
    assert np.linalg.norm(away - target) > np.linalg.norm(mean_colour(plain) - target)


def test_two_references_blend(painter):
    dark, light = spots("#240046", "#10002b"), spots("#ffffff", "#fdf0d5")
    one, two, both = (
        mean_colour(paint(painter, references=r).image).mean()
        for r in ([(dark, 1)], [(light, 1)], [(dark, 0.5), (light, 0.5)])
    )
    assert one < both < two


def test_each_step_is_told_with_a_small_preview(painter):
    steps: list[tuple[int, int, int]] = []

    def told(step: Step) -> None:
        steps.append((step.index, step.total, max(step.preview().size)))

    request = GenerationRequest(prompt="a fox", creativity="raw", aspect_ratio="16:9")
    painter.paint(request, Materials(), QUICK, 1, told)
    assert steps == [(1, 2, 256), (2, 2, 256)]


def test_what_a_step_raises_ends_the_painting(painter):
    def stop(step: Step) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        painter.paint(GenerationRequest(prompt="a fox"), Materials(), QUICK, 1, stop)


def test_the_expanded_prompt_is_told_before_the_first_step(painter):
    told: list[object] = []
    asked = GenerationRequest(prompt="a fox", creativity="high")
    painting = painter.paint(asked, Materials(), QUICK, 1, told.append, told.append)
    assert told[0] == painting.prompt
    assert painting.prompt.startswith("a fox, ")
    assert [type(step) for step in told[1:]] == [Step, Step]


def test_medium_and_large_are_two_networks_of_which_one_is_half_as_large(painter):
    sizes = {
        name: sum(p.numel() for p in network.parameters())
        for name, network in painter._krea.transformers.items()
    }
    assert {MODELS["medium"].weights, MODELS["medium-turbo"].weights} == {"turbo"}
    assert MODELS["large"].weights == "raw"
    assert sizes["raw"] >= 2 * sizes["turbo"]


def test_the_large_model_paints_another_picture_than_medium(painter, plain):
    large = Model("quick", "Quick", "raw", 2, 0.0, MODELS["large"].prices)
    assert paint(painter, model=large).image.tobytes() != plain.tobytes()


def test_the_details_say_what_was_drawn_and_how_long_it_took(painter):
    details = json.loads(json.dumps(paint(painter, "a polar bear").details))
    assert [drawing["name"] for drawing in details["plan"]["drawings"]] == ["polar bear"]
    assert {"compose_seconds", "read_seconds", "sample_seconds", "decode_seconds"} <= details[
        "timings"
    ].keys()


def test_references_add_no_style_words_to_the_prompt(painter):
    request = GenerationRequest(prompt="a fox", creativity="high")
    painting = painter.paint(
        request, Materials([Reference(spots("#000000", "#ffffff"), 0.6)]), QUICK, 1, lambda step: None
    )
    assert "palette" not in painting.prompt
    assert painting.prompt.startswith("a fox")


def test_the_sheet_shows_the_whole_and_the_most_textured_part():
    picture = Image.new("RGB", (1024, 1024), "#808080")
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    picture.paste(Image.fromarray(noise), (700, 700))
    sheet = reference_sheet(picture)
    assert sheet.size == (DETAIL, 2 * DETAIL)
    assert np.asarray(sheet)[DETAIL:].std() > np.asarray(sheet)[:DETAIL].std()
    assert most_textured(np.asarray(picture.convert("L"), dtype=np.float32), DETAIL) == (768, 768)


@pytest.mark.parametrize("part", ["vae/weights.safetensors", "checkpoint.json"])
def test_a_checkpoint_that_lacks_a_part_names_it(tmp_path, part):
    shutil.copytree(SHIPPED, tmp_path / "nano")
    (tmp_path / "nano" / part).unlink()
    with pytest.raises(CheckpointError, match=part):
        krea2.load(tmp_path / "nano")


def test_a_checkpoint_with_broken_weights_says_so(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "nano")
    (tmp_path / "nano/raw/weights.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="cannot be read"):
        krea2.load(tmp_path / "nano")


def test_strengths_add_up_and_half_is_most_of_the_way():
    picture = spots("#000000", "#ffffff")

    def strengths(*asked: float) -> list[float]:
        references = [Reference(picture, strength) for strength in asked]
        return [one.strength for one in shown(references, together(asked))]

    assert strengths(0) == []
    assert strengths(0.5) == [pytest.approx(0.63, abs=0.01)]
    assert strengths(1) == [1]
    assert strengths(0.5, 0.5) == [pytest.approx(0.5)] * 2
    assert strengths(2, 0, 2, -0.5) == [pytest.approx(0.625), pytest.approx(0.625), -0.5]
    rising = [strengths(s / 20)[0] for s in range(1, 26)]
    assert rising == sorted(set(rising))
