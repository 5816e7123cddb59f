"""python -m pytest tests/test_train.py — what the nano model learns from, and how its weights are kept."""

import random
from dataclasses import replace

import pytest
import torch

from easel.model import weights
from easel.model.decoder import decoder_noise
from easel.model.look import HANDS, TECHNIQUES
from easel.model.reader import Guess, LookReader
from easel.model.text import TextEncoder
from easel.model.texture import STATISTICS, TONES, of_sheets, tones
from easel.model.vae import AutoencoderNano
from easel.style.painter import SHIPPED
from easel.style.scene import GROUNDS, Ground, Library, Scene, draw
from easel.train import carry
from easel.train.decoder import Learner
from easel.train.distil import BLOCKS, TEXT, shortened
from easel.train.loop import Optimisers, train
from easel.train.nano import build
from easel.train.reader import losses, truth
from easel.train.styles import sample_style
from easel.train.windows import CROP, TOKEN, Batch, window


@pytest.mark.parametrize("kind", GROUNDS)
def test_every_ground_fills_the_frame_and_varies_with_its_seed(kind):
    ground = Ground(kind, ("#8ecae6", "#588157", "#ffb703"), 1)
    one, _ = draw(Scene(120, 80, ground, ()), Library(SHIPPED / "drawings.zip").raster)
    assert one.shape == (80, 120, 3)
    other, _ = draw(Scene(120, 80, replace(ground, seed=2), ()), Library(SHIPPED / "drawings.zip").raster)
    assert (kind in ("flat", "gradient")) == bool((one == other).all())


def test_a_style_is_the_same_for_the_same_number():
    one, again, other = sample_style(5), sample_style(5), sample_style(6)
    assert (one.look.hand, one.look.technique, one.look.numbers) == (
        again.look.hand,
        again.look.technique,
        again.look.numbers,
    )
    assert torch.equal(one.look.ramp, again.look.ramp)
    assert not torch.equal(one.look.ramp, other.look.ramp)


def tiny_vae() -> AutoencoderNano:
    """An autoencoder of few random weights, none of them zero."""
    torch.manual_seed(1)
    vae = AutoencoderNano(latent_channels=8, style_channels=4, widths=(8, 12), blocks=(1, 1))
    vae.basis.copy_(torch.linalg.qr(torch.randn(768, 8)).Q)
    torch.nn.init.normal_(vae.decoder.leave.weight, std=0.1)
    return vae.requires_grad_(False)


def test_latents_of_a_mixture_are_the_mixture_of_latents():
    vae = tiny_vae()
    one, other = torch.rand(2, 1, 3, 64, 96)
    mixed = vae.encode(0.3 * one + 0.7 * other)
    assert mixed.shape == (1, 8, 2, 3)
    assert torch.allclose(mixed, 0.3 * vae.encode(one) + 0.7 * vae.encode(other), atol=1e-5)


def test_a_crop_decodes_as_it_does_within_its_picture():
    vae, sketch, noise = tiny_vae(), torch.rand(1, 3, 256, 320), decoder_noise(1, 256, 320)
    z, style = vae.encode(sketch), torch.randn(1, 4)
    whole = vae.decode(z, sketch, style, noise)
    part = vae.decode(z[..., 2:8], sketch[..., 64:256], style, noise[..., 16:64])
    assert torch.allclose(part[..., 64:128], whole[..., 128:192], atol=1e-4)


def test_a_window_of_the_latents_shows_what_the_window_of_the_picture_shows():
    vae, picture = tiny_vae(), torch.rand(3, 256, 320)
    z = vae.encode(picture[None])[0]
    seen = vae.encode(window(picture, 2, 5, CROP, TOKEN)[None])[0]
    assert torch.allclose(window(z, 2, 5, CROP, 1), seen, atol=1e-5)


def test_tones_tell_the_colours_of_dark_and_of_light_places_apart():
    dark, light = torch.tensor([0.3, 0.0, 0.0]), torch.tensor([0.9, 0.9, 1.0])
    picture = torch.stack([dark, dark, dark, light])[None, :, None].expand(4, 4, 4, 3).movedim(-1, 1)
    much, red, yellow = tones(picture)[0].view(3, TONES)
    assert much[:2].sum() == pytest.approx(0.75, abs=1e-4)
    assert much[-2:].sum() == pytest.approx(0.25, abs=1e-4)
    assert red[:2].max() > 0.1 > red[-2:].abs().max()
    assert yellow[-2:].min() < -0.02


def test_the_style_code_changes_how_the_same_latents_are_painted():
    vae, sketch, noise = tiny_vae(), torch.rand(1, 3, 64, 64), decoder_noise(1, 64, 64)
    z = vae.encode(sketch)
    none, some = (vae.decode(z, sketch, code, noise) for code in (torch.zeros(1, 4), torch.ones(1, 4)))
    assert (none - some).abs().mean() > 1e-3


def test_everything_that_ships_of_the_decoder_learns():
    learner, rng = Learner(tiny_vae().requires_grad_(True)), random.Random(1)
    parts = {}
    for _ in range(4):  # strengths of all kinds have their turn
        crops, styles = torch.rand(3, 8, 3, CROP, CROP), [1, 2, 3, 4]
        painted = torch.randn(8, 8, CROP // 32, CROP // 32)
        parts = learner.losses(Batch(*crops, painted, torch.randn(4, 2 * STATISTICS), styles), rng)
        sum(parts.values()).backward()
    assert all(part.isfinite() for part in parts.values())
    still = [name for name, p in learner.vae.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_a_style_is_read_alike_wherever_its_marks_lie():
    reader, sheet = tiny_vae().style, torch.rand(1, 3, 512, 256)
    moved = torch.cat([half.roll((16, 32), (2, 3)) for half in sheet.chunk(2, 2)], 2)
    other = torch.rand(1, 3, 512, 256) ** 3
    near, far = ((reader(of_sheets(sheet)) - reader(of_sheets(x))).norm() for x in (moved, other))
    assert near < 0.3 * far


def test_weights_at_rest_are_close_to_what_was_saved(tmp_path):
    state = {"matrix": torch.randn(80, 96), "kernel": torch.randn(64, 64, 3, 3), "norm": torch.randn(80)}
    weights.save_int8(state, tmp_path / "weights.safetensors")
    loaded = weights.load(tmp_path / "weights.safetensors")
    assert loaded.keys() == state.keys()
    for name, saved in state.items():
        assert (loaded[name] - saved).abs().max() < 0.01 * saved.abs().max()
    assert (tmp_path / "weights.safetensors").stat().st_size < 1.1 * (80 * 96 + 64 * 64 * 9) + 2000


def test_a_run_of_training_goes_on_where_the_last_one_stopped(tmp_path):
    x = torch.randn(64, 12)
    wanted = x @ torch.randn(12, 3)

    def run() -> list[float]:
        network, errors = torch.nn.Linear(12, 3), []
        optimisers = Optimisers(network, [network.weight], (0.02, 0.01))

        def losses(rng: random.Random) -> dict[str, torch.Tensor]:
            error = (network(x) - wanted).square().mean()
            errors.append(error.item())
            return {"error": error}

        average = train(network, optimisers, losses, tmp_path / "state.pt", minutes=0.01)
        assert average.keys() == dict(network.named_parameters()).keys()
        return errors

    first = run()
    reached = torch.nn.Linear(12, 3)
    reached.load_state_dict(torch.load(tmp_path / "state.pt")["network"])
    second = run()
    assert second[0] == pytest.approx((reached(x) - wanted).square().mean().item())
    assert torch.load(tmp_path / "state.pt")["step"] == len(first) + len(second)


def test_what_is_known_of_looks_is_what_a_right_guess_says():
    known = truth([10**7 + i for i in range(40)])
    sure = 20.0 * torch.nn.functional.one_hot(known.technique, len(TECHNIQUES)).float()
    drawn = 20.0 * torch.nn.functional.one_hot(known.hand, len(HANDS)).float()
    right = Guess(drawn, sure, known.numbers, known.turns, known.colours, known.ramp, known.amount)
    parts = losses(right, known)
    assert all(part < 1e-4 for part in parts.values()), parts
    wrong = right._replace(hand=-drawn, technique=-sure, ramp=1 - known.ramp, colours=1 - known.colours)
    assert all(losses(wrong, known)[kind] > 0.1 for kind in ("hand", "technique", "palette", "inks"))


def test_everything_of_the_reader_of_looks_learns():
    reader, known = LookReader(widths=(8, 8, 8), hidden=32), truth([10**7 + i for i in range(24)])
    sheets = torch.rand(24, 3, 128, 64)
    guess = reader(sheets, of_sheets(sheets))
    sum(losses(guess, known).values()).backward()
    still = [name for name, p in reader.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_a_student_begins_with_what_its_teacher_knows():
    teacher = build(8, {})
    for block in teacher.text_fusion.layerwise_blocks:
        block.ff.gate.weight.data[TEXT:] = 0  # units that weigh nothing
    student = shortened(teacher)
    assert sum(p.numel() for p in teacher.parameters()) >= 2 * sum(p.numel() for p in student.parameters())
    for block, number in zip(student.transformer_blocks, BLOCKS, strict=True):
        assert torch.equal(block.ff.up.weight, teacher.transformer_blocks[number].ff.up.weight)
    x = torch.randn(2, 5, 384)
    short, whole = (each.text_fusion.layerwise_blocks[0].ff(x) for each in (student, teacher))
    assert torch.allclose(short, whole, atol=1e-5)


def test_minilm_packed_to_travel_says_what_the_package_says(tmp_path):
    carry.main(tmp_path)
    captions = ["a red fox on a hill, linocut print", "two polar bears by the sea", "a pattern of sailboats"]
    packed, whole = TextEncoder(tmp_path).embed(captions), TextEncoder().embed(captions)
    assert (packed * whole).sum(1).min() > 0.99
