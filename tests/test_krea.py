"""python -m pytest tests/test_krea.py — Krea's open weights in miniature, beside diffusers' own pipeline."""

import io
import json
import math
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import tiny_krea
import torch
from accelerate import init_empty_weights
from diffusers import Krea2Pipeline, Krea2Transformer2DModel
from diffusers.loaders.single_file_utils import convert_krea2_transformer_checkpoint_to_diffusers
from hub_at_home import hub_of
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from serving import serving
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from easel.catalog import MODELS, RECIPES, Recipe
from easel.catalog import SIZES as SHAPES
from easel.cli.doctor import checkpoint
from easel.cli.main import app
from easel.engine.krea import TOKEN, Conditioning, KreaEngine
from easel.engine.transformers import Transformers
from easel.errors import Cancelled, CheckpointError, EngineError
from easel.licence import NOTICE
from easel.model import hub, official, open_weights
from easel.model.eight_bits import Linear8
from easel.model.fitting import Fit, fitted
from easel.model.pixels import Pixels
from easel.model.prompts import MOST_TOKENS
from easel.model.sequence import patches
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Materials, Mood, Reference, Step
from easel.sdk.client import Client
from easel.settings import KreaSources, Settings
from easel.style.krea import KreaPainter
from easel.style.schemes import schemes

CPU = torch.device("cpu")
NOTHING = Materials()
PROMPTS = (
    "a fox",
    "a quiet harbour at dusk, 3 boats, long exposure; the word “SALT” on a wall",
    " \n",
    "many words " * 400,
)


@pytest.fixture(scope="module")
def turbo(tiny_turbo: Path) -> Path:
    return tiny_turbo


@pytest.fixture(scope="module")
def raw(tiny_raw: Path) -> Path:
    return tiny_raw


@pytest.fixture(scope="module")
def pipelines(turbo, raw) -> dict[str, Krea2Pipeline]:
    made = {"turbo": Krea2Pipeline.from_pretrained(turbo), "raw": Krea2Pipeline.from_pretrained(raw)}
    for pipeline in made.values():
        pipeline.set_progress_bar_config(disable=True)
    return made


def engine(parts: Path, **transformers: Path) -> KreaEngine:
    plan = open_weights.planned(transformers, parts)
    text = open_weights.load_text(plan.text, plan.parts, CPU)
    return KreaEngine(Transformers(plan.transformers, CPU), text, plan.vae.load(CPU))


def wanted(
    prompt: str = "a fox", weights: str = "turbo", size=(96, 64), seed: int = 3, **given
) -> Conditioning:
    asked = {"negative": "", "steps": 3, "guidance": 0.0} | given
    return Conditioning(prompt, asked["negative"], *size, seed, weights, asked["steps"], asked["guidance"])


def theirs(pipeline: Krea2Pipeline, asked: Conditioning, output_type: str = "latent"):
    return pipeline(
        asked.prompt,
        negative_prompt=asked.negative or None,
        width=asked.width,
        height=asked.height,
        num_inference_steps=asked.steps,
        guidance_scale=asked.guidance,
        generator=torch.Generator().manual_seed(asked.seed),
        output_type=output_type,
    ).images


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize(
    ("weights", "guidance", "negative"),
    [("turbo", 0.0, ""), ("raw", 3.5, ""), ("raw", 1.0, "a blurred photograph")],
)
def test_pictures_are_those_of_diffusers_pipeline(turbo, raw, pipelines, prompt, weights, guidance, negative):
    asked = wanted(prompt, weights, guidance=guidance, negative=negative)
    mine = engine(raw if weights == "raw" else turbo, **{weights: raw if weights == "raw" else turbo})
    ours = tokens(mine.unfinished(asked))
    assert (ours - theirs(pipelines[weights], asked)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("size", "seed"), [((64, 64), 0), ((160, 64), 1), ((64, 208), 2**40), ((304, 128), 7)]
)
def test_every_shape_and_seed_agrees(turbo, raw, pipelines, size, seed):
    mine = engine(turbo, turbo=turbo, raw=raw)
    asked = wanted(size=size, seed=seed)
    assert (tokens(mine.unfinished(asked)) - theirs(pipelines["turbo"], asked)).abs().max() < 1e-4
    picture = np.asarray(mine.paint(asked, lambda step: None), dtype=int)
    assert abs(picture - np.asarray(theirs(pipelines["turbo"], asked, "pil")[0], dtype=int)).max() <= 1


def tokens(z: torch.Tensor) -> torch.Tensor:
    """Latents as diffusers packs them."""
    b, c, h, w = z.shape
    return z.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, -1, 4 * c)


def test_a_prompt_is_cut_where_the_pipeline_cuts_it(turbo):
    text = open_weights.load_text(open_weights.text_encoder_at(turbo), turbo, CPU)
    assert text.tapped(PROMPTS[3]).shape[1] == 512
    assert text.is_cut(PROMPTS[3])
    assert not text.is_cut("a" * MOST_TOKENS)
    assert text.is_cut("a" * (MOST_TOKENS + 1))


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_one_file_gives_the_network_of_the_folder(turbo, tmp_path, prefix):
    file = tiny_krea.save_single_file(turbo, tmp_path / "one.safetensors", prefix)
    state = load_file(file) | {
        f"{prefix}last.up.weight": torch.zeros(2, 2),
        "vae.conv.weight": torch.zeros(3),
    }
    if not prefix:
        del state["vae.conv.weight"]
    save_file(state, file)
    found, whole = (open_weights.transformer_at(place).load(CPU) for place in (file, turbo))
    assert found.config.axes_dims_rope == tuple(whole.config.axes_dims_rope)
    assert same(found, whole)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, yours = one.state_dict(), other.state_dict()
    return mine.keys() == yours.keys() and all(torch.equal(mine[name], yours[name]) for name in mine)


def test_the_names_of_one_file_mean_what_diffusers_takes_them_for(turbo, tmp_path):
    state = load_file(tiny_krea.save_single_file(turbo, tmp_path / "one.safetensors"))
    ours = {official.diffusers_name(name) for name in state}
    assert ours == set(convert_krea2_transformer_checkpoint_to_diffusers(state))


def test_eight_bits_stay_eight_bits_and_paint_nearly_the_same(turbo, tmp_path):
    file = tiny_krea.save_single_file(
        turbo, tmp_path / "one.safetensors", "model.diffusion_model.", eight_bits=True
    )
    part = open_weights.transformer_at(file)
    network = part.load(CPU)
    assert isinstance(network.transformer_blocks[2].attn.to_q, Linear8)
    assert part.bytes == sum(
        w.numel() * w.itemsize for n, w in network.state_dict().items() if "_scale" not in n[-13:]
    )
    plain, eight = (tokens(engine(turbo, turbo=place).unfinished(wanted())) for place in (turbo, file))
    assert 0 < (plain - eight).norm() / plain.norm() < 0.05


def test_a_lora_on_eight_bits_is_kept_in_sixteen(turbo, tmp_path):
    file = tiny_krea.save_single_file(turbo, tmp_path / "one.safetensors", eight_bits=True)
    network = open_weights.transformer_at(file).load(CPU)
    state = {
        f"transformer.transformer_blocks.0.attn.to_q.lora_{half}.weight": torch.randn(size)
        for half, size in (("A", (4, 64)), ("B", (64, 4)))
    }
    network.load_lora_adapter(state, adapter_name="style", prefix="transformer")
    layer, x = network.transformer_blocks[0].attn.to_q, torch.randn(1, 5, 64, dtype=torch.bfloat16)
    assert {weight.dtype for name, weight in layer.named_parameters() if "lora" in name} <= {
        torch.bfloat16,
        torch.float32,
    }
    with_it = layer(x)
    network.disable_adapters()
    assert not torch.equal(with_it, layer(x))


def test_old_and_new_names_of_scales_mean_the_same(turbo, tmp_path):
    new = tiny_krea.save_single_file(turbo, tmp_path / "new.safetensors", eight_bits=True)
    state = {name.replace(".weight_scale", ".scale_weight"): w for name, w in load_file(new).items()}
    marks = {"scaled_fp8": torch.zeros(2), "blocks.0.attn.wq.scale_input": torch.ones(())}
    save_file(state | marks, tmp_path / "old.safetensors")
    old = open_weights.transformer_at(tmp_path / "old.safetensors").load(CPU)
    assert same(old, open_weights.transformer_at(new).load(CPU))


def test_eight_bits_without_scales_are_taken_as_they_are(turbo, tmp_path):
    state = load_file(tiny_krea.save_single_file(turbo, tmp_path / "one.safetensors"))
    cut = {n: w.to(torch.float8_e4m3fn) if w.ndim == 2 and "mod" not in n else w for n, w in state.items()}
    save_file(cut, tmp_path / "one.safetensors")
    network = open_weights.transformer_at(tmp_path / "one.safetensors").load(CPU)
    layer = network.transformer_blocks[0].ff.up
    assert torch.equal(layer.weight8.float(), cut["blocks.0.mlp.up.weight"].float())
    assert (layer.weight_scale == 1).all()
    assert torch.equal(network.img_in.weight, cut["first.weight"].to(torch.bfloat16))


def test_halves_stay_halves_and_norms_are_kept_whole(turbo, tmp_path):
    shutil.copytree(turbo, tmp_path / "half")
    Krea2Transformer2DModel.from_pretrained(turbo / "transformer").to(torch.bfloat16).save_pretrained(
        tmp_path / "half" / "transformer"
    )
    network = open_weights.transformer_at(tmp_path / "half").load(CPU)
    assert network.transformer_blocks[0].attn.to_q.weight.dtype == torch.bfloat16
    assert network.transformer_blocks[0].norm1.weight.dtype == torch.float32
    half, whole = (
        tokens(engine(turbo, turbo=place).unfinished(wanted())) for place in (tmp_path / "half", turbo)
    )
    assert (half - whole).norm() / whole.norm() < 0.03


def test_a_sharded_checkpoint_is_read_by_its_index(turbo, tmp_path):
    shutil.copytree(turbo, tmp_path / "shards")
    folder = tmp_path / "shards" / "transformer"
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    Krea2Transformer2DModel.from_pretrained(turbo / "transformer").save_pretrained(
        folder, max_shard_size="200KB"
    )
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert same(
        open_weights.transformer_at(tmp_path / "shards").load(CPU),
        open_weights.transformer_at(turbo).load(CPU),
    )
    lost = sorted(folder.glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(CheckpointError, match=f"{lost.name}' is missing: fetch"):
        open_weights.transformer_at(tmp_path / "shards")


def test_a_file_that_is_cut_short_says_by_how_much(turbo, tmp_path):
    file = tiny_krea.save_single_file(turbo, tmp_path / "one.safetensors")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"has [\d,]+ of [\d,]+ bytes: fetch"):
        open_weights.transformer_at(file)


def test_what_is_no_safetensors_file_is_refused(tmp_path):
    for wrong in (b"<html>not found</html>" * 100, b"\x89PNG\r\n\x1a\n" * 1000):
        (tmp_path / "one.safetensors").write_bytes(wrong)
        with pytest.raises(CheckpointError, match="is no safetensors file") as refused:
            open_weights.transformer_at(tmp_path / "one.safetensors")
        assert len(refused.value.message) < 500  # what is in it is nobody's to read


def test_another_network_is_refused_by_name(turbo, tmp_path):
    with pytest.raises(CheckpointError, match="it is no Krea 2 transformer: it lacks"):
        open_weights.transformer_at(turbo / "vae" / "diffusion_pytorch_model.safetensors")
    state = load_file(tiny_krea.save_single_file(turbo, tmp_path / "one.safetensors"))
    for changed, match in (
        (
            {n: w for n, w in state.items() if n != "blocks.1.mlp.up.weight"},
            "it lacks 'transformer_blocks.1.ff.up.w",
        ),
        (
            state | {"blocks.1.extra.weight": torch.zeros(1)},
            "another network's: it holds 'transformer_blocks.1.extra",
        ),
        (
            state | {"blocks.1.mlp.up.weight": torch.zeros(5, 5)},
            r"'blocks.1.mlp.up.weight' is \(5, 5\), not \(64, 64\)",
        ),
    ):
        save_file(changed, tmp_path / "one.safetensors")
        with pytest.raises(CheckpointError, match=match):
            open_weights.transformer_at(tmp_path / "one.safetensors")


def test_eight_bits_of_another_kind_are_refused_with_a_remedy(turbo, tmp_path):
    state = load_file(tiny_krea.save_single_file(turbo, tmp_path / "one.safetensors", eight_bits=True))
    blocks = state | {"blocks.0.attn.wq.weight_scale": torch.ones(64, 2)}
    whole = state | {"blocks.0.attn.wq.weight": state["blocks.0.attn.wq.weight"].to(torch.int8)}
    for changed, kind in ((blocks, "F8_E4M3"), (whole, "I8")):
        save_file(changed, tmp_path / "one.safetensors")
        with pytest.raises(CheckpointError, match=f"is kept as {kind}: take a file in BF16"):
            open_weights.transformer_at(tmp_path / "one.safetensors")


@pytest.mark.parametrize(
    ("lost", "match"),
    [
        ("model_index.json", "model_index.json' is missing: fetch"),
        ("tokenizer", "tokenizer_config.json' is missing: fetch"),
        ("vae", "the autoencoder at .* there is no folder 'vae' in it: name the folder that holds"),
        ("text_encoder", "the text encoder at .* there is no folder 'text_encoder' in it"),
        ("transformer", "the transformer at .* there is no folder 'transformer' in it"),
    ],
)
def test_what_a_folder_lacks_is_told_before_anything_is_loaded(turbo, tmp_path, lost, match):
    place = shutil.copytree(turbo, tmp_path / "part")
    (shutil.rmtree if (place / lost).is_dir() else Path.unlink)(place / lost)
    with pytest.raises(CheckpointError, match=match):
        open_weights.planned({"turbo": place}, place)


def test_turbo_is_not_taken_for_raw(turbo):
    with pytest.raises(CheckpointError, match="is Turbo: EASEL_KREA_RAW must not name it"):
        open_weights.planned({"raw": turbo}, turbo)


def test_one_file_needs_the_other_parts_from_elsewhere(turbo, tmp_path):
    file = tiny_krea.save_single_file(turbo, tmp_path / "one.safetensors")
    with pytest.raises(CheckpointError, match="set EASEL_KREA_PARTS"):
        open_weights.planned({"turbo": file}, file)


def test_another_tokenizer_is_refused(turbo, tmp_path):
    shutil.copytree(turbo, tmp_path / "other")
    file = tmp_path / "other" / "tokenizer" / "tokenizer.json"
    told = json.loads(file.read_text())
    told["model"]["merges"] = told["model"]["merges"][:5]
    file.write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match="it is not Qwen3-VL's"):
        open_weights.load_text(open_weights.text_encoder_at(turbo), tmp_path / "other", CPU)


def test_the_memory_is_known_before_any_is_taken(turbo, raw):
    plan = open_weights.planned({"turbo": turbo, "raw": raw}, turbo)
    networks = [
        *(part.load(CPU) for part in plan.transformers.values()),
        plan.text.load(CPU),
        plan.vae.load(CPU),
    ]
    sizes = [sum(w.numel() * w.itemsize for w in network.state_dict().values()) for network in networks]
    assert Fit(plan).need == max(sizes[:2]) + sum(sizes[2:]) + open_weights.WORKING_BYTES
    assert fitted(plan, "bf16", Fit(plan).need, None).plan.transformers.keys() == plan.transformers.keys()
    with pytest.raises(
        CheckpointError,
        match=r"2\.0 GB of memory here, and 0\.5 GB are free: add memory, or paint on a GPU",
    ):
        fitted(plan, "auto", 5e8, None)


def test_one_transformer_gives_way_to_the_other_where_both_have_no_room(turbo, raw, monkeypatch):
    kept = Transformers(open_weights.planned({"turbo": turbo, "raw": raw}, turbo).transformers, CPU)
    first = kept.take("turbo")
    assert kept.take("raw") is not first
    assert kept.take("turbo") is first
    monkeypatch.setattr("easel.engine.transformers.free_memory", lambda device: 0.0)
    tight = Transformers(kept._parts, CPU)
    one = tight.take("turbo")
    tight.take("raw")
    assert tight.take("turbo") is not one
    assert same(tight.take("turbo"), one)


class Hub:
    """The far end of the network: one model, and what is asked of it."""

    def __init__(self, kept: Path, sizes: dict[str, int], refusal: Exception | None = None) -> None:
        self.kept, self.sizes, self.refusal = kept, sizes, refusal
        self.asked: list[str] = []

    def auth_check(self, source: str) -> None:
        if self.refusal:
            raise self.refusal

    def model_info(self, source: str, files_metadata: bool) -> SimpleNamespace:
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=n, size=s) for n, s in self.sizes.items()])

    def snapshot_download(
        self, source: str, allow_patterns: Sequence[str] = (), local_files_only: bool = False
    ) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("nothing is kept")
        self.asked = list(allow_patterns)
        return str(self.kept)


SIZES = {
    "model_index.json": 500,
    "transformer/config.json": 500,
    "transformer/diffusion_pytorch_model-00001-of-00001.safetensors": 26_000_000_000,
    "text_encoder/model.safetensors": 9_000_000_000,
    "tokenizer/tokenizer.json": 7_000_000,
    "vae/diffusion_pytorch_model.safetensors": 250_000_000,
    "turbo.safetensors": 26_000_000_000,
}


def refused(kind: type[Exception]) -> Exception:
    answer = httpx.Response(403, request=httpx.Request("GET", "https://hub.test/api"))
    return kind("no", response=answer)


def test_only_what_is_needed_is_fetched(turbo, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10**12))
    far = Hub(turbo, SIZES)
    assert hub.fetched("krea/Krea-2-Raw", ["transformer"], 80e9, hub=far) == turbo
    assert far.asked == [name for name in SIZES if name.startswith(("transformer/", "model_index"))]


@pytest.mark.parametrize(
    ("memory", "precision", "disk", "match"),
    [
        (
            34e9,
            "bf16",
            10**12,
            r"takes 35\.2 GB of memory with EASEL_PRECISION=bf16, and 34\.0 GB are free: it",
        ),
        (
            22e9,
            "auto",
            10**12,
            r"takes 22\.8 GB of memory with .*=auto, and 22\.0 GB are free: it was not fet",
        ),
        (
            17e9,
            "nf4",
            10**12,
            r"takes 17\.3 GB of memory with .*=nf4, and 17\.0 GB are free: it was not fetche",
        ),
        (23e9, "auto", 30 * 10**9, r"takes 35\.3 GB, and the disk of .* has 30\.0 GB free: make room"),
    ],
)
def test_what_does_not_fit_is_not_fetched(turbo, monkeypatch, memory, precision, disk, match):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=disk))
    far = Hub(turbo, SIZES)
    with pytest.raises(CheckpointError, match=match):
        hub.fetched("krea/Krea-2-Turbo", ["transformer", *hub.PARTS], memory, precision, far)
    assert not far.asked


@pytest.mark.parametrize(
    ("refusal", "match"),
    [
        (refused(GatedRepoError), "is gated: accept its licence on its page on the hub, then set HF_TOKEN"),
        (
            refused(RepositoryNotFoundError),
            "the hub shows no model 'krea/Krea-2-Turbo': mend the name, of which .* has no folder",
        ),
        (HTTPError("no route"), r"the hub cannot be reached \(no route\): fetch it elsewhere"),
    ],
)
def test_a_hub_that_gives_nothing_says_why(turbo, refusal, match):
    with pytest.raises(CheckpointError, match=match):
        hub.fetched("krea/Krea-2-Turbo", ["transformer"], 80e9, hub=Hub(turbo, SIZES, refusal))


def test_a_hub_that_cannot_be_reached_is_told_of_by_the_very_client_that_asks_it():
    with pytest.raises(CheckpointError, match=r"the hub cannot be reached .*: fetch it elsewhere"):
        hub.to_fetch("krea/Krea-2-Turbo", ["transformer"], HfApi(endpoint="http://127.0.0.1:9"))


def test_what_the_true_client_has_fetched_is_used_when_the_hub_is_away(turbo, tmp_path):
    name, all_of_it = "krea/Krea-2-Turbo", ["transformer", *hub.PARTS]
    with hub_of({name: turbo, "krea/shut": turbo}, tmp_path, "krea/shut") as far:
        place = hub.fetched(name, ["transformer"], 1e9, hub=far)
        assert {path.name for path in place.iterdir()} == {"transformer", "model_index.json"}
        assert hub.at_hand(name, all_of_it, far) is None
        with pytest.raises(CheckpointError, match="'krea/shut' is gated: accept its licence"):
            hub.fetched("krea/shut", ["transformer"], 1e9, hub=far)
        with pytest.raises(CheckpointError, match="the hub shows no model 'krea/absent'"):
            hub.fetched("krea/absent", ["transformer"], 1e9, hub=far)
    assert hub.at_hand(name, ["transformer"], far) == place
    assert same(open_weights.transformer_at(place).load(CPU), open_weights.transformer_at(turbo).load(CPU))


def test_a_model_that_diffusers_cannot_read_is_not_fetched(turbo):
    with pytest.raises(CheckpointError, match="has no folder 'vae': it is not laid out for diffusers"):
        hub.fetched("krea/other", hub.PARTS, 80e9, hub=Hub(turbo, {n: 1 for n in SIZES if "vae" not in n}))


@pytest.mark.parametrize(
    ("turbo", "raw", "painted", "parts"),
    [
        ("t", "r", ("medium", "medium-turbo", "large"), "t"),
        ("t", "", ("medium", "medium-turbo"), "t"),
        ("", "r", ("large",), "r"),
    ],
)
def test_what_no_setting_names_is_not_painted(turbo, raw, painted, parts):
    settings = Settings(models="krea", krea_turbo=turbo, krea_raw=raw)
    assert (settings.painted, settings.krea.parts) == (painted, parts)
    assert (settings.krea.turbo, settings.krea.raw) == (turbo or None, raw or None)


def test_where_nothing_is_named_nothing_is_loaded():
    with pytest.raises(CheckpointError, match="are both empty: name what is to paint"):
        hub.places(Settings(models="krea", krea_turbo="", krea_raw="").krea, hub.here)


def test_what_the_hub_has_given_before_is_used_without_it(turbo, tmp_path, monkeypatch):
    """The cache as huggingface_hub lays it out, with one model whole and two that broke off."""
    for name in ("wordless", "whole", "short"):
        folder = tmp_path / f"models--krea--{name}"
        shutil.copytree(turbo, folder / "snapshots" / "c0ffee")
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("c0ffee")
    cut = folder / "snapshots" / "c0ffee" / "vae" / "diffusion_pytorch_model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-10])
    kept = partial(HfApi().snapshot_download, cache_dir=tmp_path)
    api = SimpleNamespace(snapshot_download=kept)
    assert hub.at_hand("krea/whole", ["transformer", *hub.PARTS], api).name == "c0ffee"
    assert hub.at_hand("krea/short", ["transformer"], api).name == "c0ffee"
    assert hub.at_hand("krea/short", hub.PARTS, api) is None
    (tmp_path / "models--krea--wordless/snapshots/c0ffee/tokenizer/tokenizer_config.json").unlink()
    assert hub.at_hand("krea/wordless", hub.PARTS, api) is None
    assert hub.at_hand("krea/absent", hub.PARTS, api) is None


@pytest.mark.parametrize(
    "source", ["/nowhere/krea", "~/nowhere", "krea2_turbo.safetensors", "a/b.safetensors", "a/b.ckpt"]
)
def test_a_path_where_there_is_nothing_is_no_name_on_the_hub(source):
    with pytest.raises(CheckpointError, match="there is no folder or file"):
        hub.at_hand(source, hub.PARTS)


def test_text_encoder_and_autoencoder_are_fetched_once():
    sources = Settings().krea
    assert hub.wanted(sources) == {
        "krea/Krea-2-Turbo": ["transformer", *hub.PARTS],
        "krea/Krea-2-Raw": ["transformer"],
    }
    apart = Settings(krea_turbo="t.safetensors", krea_raw="", krea_parts="krea/parts").krea
    assert hub.wanted(apart) == {"t.safetensors": ["transformer"], "krea/parts": list(hub.PARTS)}


@pytest.fixture(scope="module")
def painter(turbo, raw) -> KreaPainter:
    return KreaPainter.load(KreaSources(str(turbo), str(raw), str(turbo)))


def paint(painter, route: str = "medium", materials=NOTHING, on_step=lambda step: None, **request):
    asked = GenerationRequest(**{"prompt": "a fox", **request})
    return painter.paint(asked, materials, MODELS[route], 7, on_step)


def test_every_size_on_offer_is_whole_tokens():
    assert all(side % TOKEN == 0 for size in SHAPES.values() for side in size)


def test_a_picture_comes_out_at_its_exact_size(painter, monkeypatch):
    monkeypatch.setitem(RECIPES, "medium", Recipe("turbo", 1, 0.0))
    assert paint(painter, aspect_ratio="2.35:1").image.size == SHAPES["2.35:1"]


@pytest.fixture
def small(monkeypatch):
    """The contract's sizes, a sixteenth as large in area, and few steps."""
    monkeypatch.setattr("easel.schema.generation.SIZES", {"1:1": (256, 256), "16:9": (352, 192)})
    for route, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, route, replace(recipe, steps=min(recipe.steps, 3)))


@pytest.mark.usefixtures("small")
def test_the_same_seed_gives_the_same_bytes_and_each_model_its_own(painter):
    first, again, large = (paint(painter, route).image.tobytes() for route in ("medium", "medium", "large"))
    assert first == again
    assert first != large


@pytest.mark.usefixtures("small")
def test_each_step_is_told_with_a_small_preview_which_comes_to_the_picture(painter):
    steps: list[tuple[int, int, tuple[int, int]]] = []

    def told(step: Step) -> None:
        steps.append((step.index, step.total, step.preview().size))

    image = paint(painter, on_step=told, aspect_ratio="16:9").image
    assert steps == [(number, 3, (256, 136)) for number in (1, 2, 3)]
    assert image.size == (352, 192)


@pytest.mark.usefixtures("small")
def test_a_preview_that_nobody_asks_for_is_not_made(painter, monkeypatch):
    decoded: list[torch.Tensor] = []
    decode = Pixels.decode
    monkeypatch.setattr(Pixels, "decode", lambda pixels, z: decoded.append(z) or decode(pixels, z))
    paint(painter, on_step=lambda step: step.index == 2 and step.preview())
    assert [tuple(z.shape[-2:]) for z in decoded] == [(32, 32), (32, 32)]


@pytest.mark.usefixtures("small")
def test_what_a_step_raises_ends_the_painting(painter):
    seen: list[int] = []

    def stop(step: Step) -> None:
        seen.append(step.index)
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        paint(painter, on_step=stop)
    assert seen == [1]


@pytest.mark.usefixtures("small")
def test_a_moodboards_words_join_the_prompt_and_what_it_avoids_is_steered_from(painter):
    mood = Mood(keywords=["linocut print"], avoids=["photograph"])
    painting, plain = (paint(painter, "large", Materials(mood=m)) for m in (mood, Mood()))
    assert painting.prompt == "a fox, linocut print"
    assert painting.details["negative_prompt"] == "photograph"
    assert painting.image.tobytes() != plain.image.tobytes()
    assert paint(painter, materials=Materials(mood=mood), creativity="raw").prompt == "a fox"


@pytest.mark.usefixtures("small")
def test_the_details_say_how_the_picture_came_about(painter):
    details = json.loads(json.dumps(paint(painter, "large", prompt="a " * 600).details))
    assert details["weights"] == "raw"
    assert details["guidance"] == 3.5
    assert details["prompt_cut"]
    assert {"load_seconds", "sample_seconds", "decode_seconds"} <= details["timings"].keys()


@pytest.mark.usefixtures("small")
def test_the_decoders_time_is_told_apart_from_the_samplings(painter, monkeypatch):
    decode = Pixels.decode

    def slowly(pixels, z):
        time.sleep(0.2)
        return decode(pixels, z)

    monkeypatch.setattr(Pixels, "decode", slowly)
    timings = paint(painter).details["timings"]
    assert timings["decode_seconds"] > 0.2 > timings["sample_seconds"]


def test_large_without_raw_says_what_to_set(turbo):
    painter = KreaPainter.load(KreaSources(str(turbo), None, str(turbo)))
    with pytest.raises(EngineError, match="Krea 2 Large is painted by Krea-2-Raw: set EASEL_KREA_RAW"):
        paint(painter, "large")


def test_the_checkpoints_name_changes_with_its_weights(turbo, raw):
    names = {
        KreaPainter.load(KreaSources(str(place), None, str(turbo))).checkpoint
        for place in (turbo, turbo.parent / "turbo")
    }
    other = tiny_krea.save(raw.parent / "other", distilled=True, seed=5)
    assert len(names) == 1
    assert KreaPainter.load(KreaSources(str(other), None, str(turbo))).checkpoint not in names


def test_references_are_shown_small_and_those_of_strength_0_not_at_all():
    large, small = Image.new("RGB", (4000, 1000)), Image.new("RGB", (40, 90))
    seen = schemes([Reference(large, 1.0), Reference(large, 0), Reference(small, -0.5)], False)["looks"]
    assert [image.size for image, _ in seen] == [(960, 240), (32, 96)]
    assert [weight for _, weight in seen] == [0.75, pytest.approx(-0.21875)]


@pytest.mark.usefixtures("small")
def test_a_reference_moves_the_picture_and_one_of_strength_0_does_not(painter):
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)

    def painted_with(strength: float):
        return paint(painter, materials=Materials([Reference(picture, strength)]))

    plain, none, half = paint(painter), painted_with(0), painted_with(0.5)
    assert none.image.tobytes() == plain.image.tobytes()
    assert half.image.tobytes() != plain.image.tobytes()
    assert half.details["references"] == {
        "in_context": [],
        "shared_attention": [0.438],
        "in_prompt": [],
    }


def test_the_true_model_is_known_from_its_header_alone(tmp_path):
    """A file of 12.8 billion weights, of which only the header was written."""
    with init_empty_weights():
        network = Krea2Transformer2DModel()
    shapes = {tiny_krea.official(name): list(w.shape) for name, w in network.state_dict().items()}
    shapes = {n: [math.prod(shape)] if n.endswith(".mod.lin") else shape for n, shape in shapes.items()}
    end, told = 0, {}
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        told[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    header = json.dumps(told).encode()
    file = tmp_path / "turbo.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(file, file.stat().st_size + end)
    part = open_weights.transformer_at(file)
    assert part.network.config.num_layers == 28
    assert part.network.config.axes_dims_rope == (32, 48, 48)
    assert part.network.state_dict().keys() == network.state_dict().keys()
    assert part.dtype == torch.bfloat16
    assert part.bytes == pytest.approx(25.64e9, rel=0.001)


def test_the_command_line_lists_checks_and_finds_them(turbo, raw, monkeypatch, capsys):
    for name, value in {"TURBO": turbo, "RAW": raw, "PARTS": ""}.items():
        monkeypatch.setenv(f"EASEL_KREA_{name}", str(value))
    for arguments in (["list"], ["check"], ["path", "raw"]):
        app(["models", *arguments], standalone_mode=False)
    told = capsys.readouterr().out
    assert f"medium, medium-turbo  {turbo}" in told
    assert "turbo  whole" in told
    assert "on cpu, where" in told
    assert told.endswith(f"{raw}\n")
    monkeypatch.setenv("EASEL_KREA_RAW", str(turbo))
    with pytest.raises(CheckpointError, match="is Turbo: EASEL_KREA_RAW must not name it"):
        app(["models", "check"], standalone_mode=False)
    monkeypatch.setenv("EASEL_KREA_RAW", "")
    with pytest.raises(CheckpointError, match="there is no 'raw': EASEL_KREA_RAW is empty"):
        app(["models", "path", "raw"], standalone_mode=False)


def test_the_doctor_reads_only_what_the_files_say(turbo):
    found = checkpoint(Settings(models="krea", krea_turbo=str(turbo), krea_raw=""))
    gpu = torch.cuda.is_available()
    assert found.startswith("Krea's open weights, whole, for ")
    assert found.endswith("cuda" if gpu else "the processor, in minutes a picture: PyTorch sees no GPU")
    found = checkpoint(Settings(models="krea", krea_turbo=str(turbo), krea_raw="", device="cpu"))
    assert found == "Krea's open weights, whole, for cpu"
    with pytest.raises(CheckpointError, match="there is no folder or file '/nowhere'"):
        checkpoint(Settings(models="krea", krea_turbo=str(turbo), krea_raw="/nowhere"))


def test_a_whole_server_paints_with_them(turbo, raw, data_folder):
    weights = {"EASEL_KREA_TURBO": str(turbo), "EASEL_KREA_RAW": str(raw)}
    with (
        serving(data_folder, EASEL_MODELS="krea", **weights) as served,
        Client(served.token, served.url) as client,
    ):
        picture = client.generate("a fox", model="medium-turbo", seed=3)
        assert NOTICE in client.http.get("/openapi.json").json()["info"]["description"]
    opened = Image.open(io.BytesIO(picture.content))
    assert opened.size == (1024, 1024)
    assert "<Iptc4xmpExt:AISystemUsed>krea</Iptc4xmpExt:AISystemUsed>" in opened.info["XML:com.adobe.xmp"]
    assert NOTICE in (data_folder / "serve.log").read_text()


def test_pictures_are_cut_as_qwens_own_processor_cuts_them():
    theirs = Qwen2VLImageProcessorPil(
        patch_size=16,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        size={"shortest_edge": 32 * 32, "longest_edge": 384 * 384},
    )
    for size in ((64, 96), (320, 224), (32, 32)):
        noise = np.random.default_rng(1).integers(0, 255, (*size, 3), dtype=np.uint8)
        picture = Image.fromarray(noise)
        mine, rows, columns = patches(picture)
        told = theirs(picture, return_tensors="pt")
        assert told["image_grid_thw"].tolist() == [[1, rows, columns]]
        assert (mine - told["pixel_values"]).abs().max() < 1e-5
    assert patches(Image.new("RGB", (3000, 1000)))[1:] == (14, 42)


def test_a_prompt_hears_the_pictures_before_it(turbo):
    text = open_weights.load_text(open_weights.text_encoder_at(turbo), turbo, CPU)
    one, two = Image.new("RGB", (64, 96), "red"), Image.new("RGB", (96, 96), "blue")
    plain, seen, other = (text.tapped("a fox", pictures) for pictures in ((), (one, two), (one, one)))
    frames = sum(len(tiny_krea.tokenizer()(f"Picture {i}: ").input_ids) for i in (1, 2))
    assert seen.shape[1] == plain.shape[1] + 2 * 3 + 3 * 3 + 2 * 2 + frames
    assert not torch.allclose(seen[:, -3:], plain[:, -3:], atol=1e-3)
    assert other.shape[1] == seen.shape[1] - 3


@pytest.fixture(scope="module")
def style_lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ai-toolkit writes it."""
    generator = torch.Generator().manual_seed(2)
    state = {
        f"diffusion_model.blocks.{i}.attn.{name}.lora_{half}.weight": torch.randn(size, generator=generator)
        for i in range(3)
        for name in ("wq", "wo")
        for half, size in (("A", (4, 64)), ("B", (64, 4)))
    }
    file = tmp_path_factory.mktemp("lora") / "style.safetensors"
    save_file({name: weight / 10 for name, weight in state.items()}, file)
    return file


@pytest.mark.usefixtures("small")
def test_with_a_style_lora_references_are_read_in_context(turbo, raw, painter, style_lora):
    styled = KreaPainter.load(KreaSources(str(turbo), str(raw), str(turbo), str(style_lora)))
    red = Image.new("RGB", (96, 64), "red")

    def painted(route: str, *strengths: float):
        return paint(styled, route, materials=Materials([Reference(red, s) for s in strengths]))

    plain = paint(painter).image.tobytes()
    assert painted("medium").image.tobytes() == plain
    assert painted("medium", 0).image.tobytes() == plain
    pictures = [painted("medium", *strengths) for strengths in ((0.5,), (1.0,), (1.0, 1.0), (-0.5,))]
    assert len({painting.image.tobytes() for painting in pictures} | {plain}) == 5
    assert pictures[2].details["references"] == {
        "in_context": [1.0, 1.0],
        "shared_attention": [],
        "in_prompt": [],
    }
    assert painted("large", 0.5).details["references"] == {
        "in_context": [],
        "shared_attention": [0.438],
        "in_prompt": [],
    }
    assert painted("medium").image.tobytes() == plain


def test_a_file_that_is_no_lora_for_krea_is_refused(turbo, tmp_path, style_lora):
    network = open_weights.transformer_at(turbo).network
    assert open_weights.style_lora_at(style_lora, network)
    wide = {"diffusion_model.blocks.0.attn.wq.lora_A.weight": torch.zeros(4, 6144)}
    for state in ({"something.else": torch.zeros(2)}, {"unet.to_q.lora_A.weight": torch.zeros(2, 2)}, wide):
        save_file(state, tmp_path / "odd.safetensors")
        with pytest.raises(CheckpointError, match=r"odd.safetensors' (is another network's|cannot be used)"):
            open_weights.style_lora_at(tmp_path / "odd.safetensors", network)
    with pytest.raises(CheckpointError, match=r"no file '.*absent.safetensors': mend EASEL_KREA_STYLE_LORA"):
        open_weights.style_lora_at(tmp_path / "absent.safetensors", network)


def test_a_text_encoder_as_qwen_publishes_it_hears_the_same(turbo, tmp_path):
    """With its head for words, by that class' names, and the older spelling of its configuration."""
    shutil.copytree(turbo, tmp_path / "older")
    folder = tmp_path / "older" / "text_encoder"
    state = {f"model.{name}": w for name, w in load_file(folder / "model.safetensors").items()}
    save_file(state | {"lm_head.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    turning = config["text_config"].pop("rope_parameters")
    config["text_config"]["rope_theta"] = turning.pop("rope_theta")
    config["text_config"]["rope_scaling"] = turning
    (folder / "config.json").write_text(json.dumps(config))
    texts = (
        open_weights.load_text(open_weights.text_encoder_at(place), place, CPU)
        for place in (turbo, tmp_path / "older")
    )
    one, other = (text.tapped("a fox in the snow") for text in texts)
    assert torch.equal(one, other)


@pytest.mark.usefixtures("small")
def test_a_worker_for_large_alone_loads_raw_alone(turbo, raw, monkeypatch):
    monkeypatch.setitem(RECIPES, "large", replace(RECIPES["large"], steps=2))
    given = Settings(models="krea", krea_turbo=str(turbo), krea_raw=str(raw), variants="large")
    assert hub.places(given.krea, hub.here) == ({"raw": raw}, turbo, False)
    painter = KreaPainter.load(given.krea, "cpu")
    assert paint(painter, "large").details["weights"] == "raw"
    with pytest.raises(CheckpointError, match=r"EASEL_DEVICE is 'cuda:99', and PyTorch sees (\d+|no) GPU"):
        KreaPainter.load(given.krea, "cuda:99")
