"""python -m pytest tests/test_krea_wiring.py — what a LoRA's file says of how it reads references."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from easel.catalog import MODELS, RECIPES
from easel.errors import CheckpointError
from easel.model.wiring import wiring
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Materials, Reference
from easel.settings import KreaSources
from easel.style.krea import KreaPainter

LORA = {
    "diffusion_model.blocks.0.attn.wq.lora_A.weight": torch.ones(2, 64),
    "diffusion_model.blocks.0.attn.wq.lora_B.weight": torch.ones(64, 2),
}
UNSAID = "its file does not say what it reads: it is taken for one of style references"


def saved(folder: Path, stem: str, **metadata: str) -> Path:
    """As ai-toolkit writes it."""
    file = folder / f"{stem}.safetensors"
    software = {"software": json.dumps({"name": "ai-toolkit"}), "format": "pt"}
    save_file(LORA, file, software | {key.replace("__", "."): value for key, value in metadata.items()})
    return file


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("krea2_identity_edit_v1_2", {}),
        ("Krea-2 Identity Edit r64", {"ss_base_model_version": "krea2"}),
        ("mine", {"ss_base_model_version": "krea2_edit"}),
        ("mine", {"ss_output_name": "krea2_identity_edit_v1_1"}),
        ("style_reference", {"modelspec__title": "Identity Edit for Krea 2"}),
    ],
)
def test_a_lora_for_identity_edit_is_refused_by_name(tmp_path, name, metadata):
    file = saved(tmp_path, name, **metadata)
    with pytest.raises(CheckpointError, match=r"is for identity edit, as .* says .*; set EASEL_KREA_STYLE"):
        wiring(file)


@pytest.mark.parametrize(
    ("name", "metadata", "told"),
    [
        ("krea2_turbo_style_reference", {}, "for style references, as its file name says"),
        ("mine", {"name": "krea2_style_ref"}, "for style references, as name says"),
        ("mine", {"ss_base_model_version": "krea2"}, UNSAID),
        ("credit_identity", {"ss_output_name": "watercolour"}, UNSAID),
    ],
)
def test_what_a_file_says_is_told(tmp_path, name, metadata, told):
    assert wiring(saved(tmp_path, name, **metadata)) == told


def test_a_painter_refuses_the_one_and_tells_of_the_other(tiny_turbo, tmp_path, monkeypatch):
    monkeypatch.setattr("easel.schema.generation.SIZES", {"1:1": (64, 64)})
    monkeypatch.setitem(RECIPES, "medium", replace(RECIPES["medium"], steps=1))

    def painter(lora: Path) -> KreaPainter:
        return KreaPainter.load(KreaSources(str(tiny_turbo), None, str(tiny_turbo), str(lora)))

    with pytest.raises(CheckpointError, match="is for identity edit, as its file name says"):
        painter(saved(tmp_path, "identity-edit"))
    styled = painter(saved(tmp_path, "mine"))
    request = GenerationRequest(prompt="a fox", creativity="raw")
    for references, told in (([], None), ([Reference(Image.new("RGB", (64, 64), "red"), 1.0)], UNSAID)):
        painting = styled.paint(request, Materials(references), MODELS["medium"], 7, lambda step: None)
        assert painting.details["style_lora"] == told
