"""LoRA files from elsewhere: whether they fit the models here, and which of them they change."""

from typing import NamedTuple, get_args

from easel.errors import StyleError
from easel.model import hub, lora, lora_files, weights
from easel.model.lora import Shapes
from easel.schema.styles import WEIGHTS, TrainedModel
from easel.settings import Settings


class Found(NamedTuple):
    """What a file is."""

    model: TrainedModel
    title: str  # as its trainer says, or ""
    trigger_word: str


def examined(data: bytes, settings: Settings, wanted: TrainedModel | None) -> Found:
    """What the LoRA in `data` is for: as `wanted`, as it says itself, or as its layers fit; StyleError naming
    what it changes and what is needed, if it fits none of the models that the settings name."""
    file = lora_files.read(data)
    said = wanted or file.metadata.get("model")
    known: tuple[TrainedModel, ...] = get_args(TrainedModel)
    misfits: list[StyleError] = []
    fits: list[TrainedModel] = []
    for model in [model for model in known if said in (None, model)] or list(known):
        shapes = krea_shapes(settings) if settings.models == "krea" else nano_shapes(settings, model)
        try:
            lora.fitted(file.changes.get("transformer", {}), shapes)
            fits.append(model)
        except StyleError as misfit:
            misfits.append(misfit)
    if not fits:
        raise misfits[0]
    if len(fits) > 1 and settings.models != "krea":  # whose LoRAs are trained on Raw, and meant for Turbo
        raise StyleError(f"The LoRA fits {' and '.join(fits)}: say which it was trained on with --model")
    return Found(fits[0], file.metadata.get("title", ""), file.metadata.get("trigger_word", ""))


def nano_shapes(settings: Settings, model: TrainedModel) -> Shapes:
    """Of one of the small model's transformers."""
    folder = settings.checkpoint or weights.SHIPPED
    return weights.shapes(folder / WEIGHTS[model] / "weights.safetensors")


def krea_shapes(settings: Settings) -> Shapes:
    """Of Krea's transformer, which is the same for Turbo and Raw: as the weights here have it; where they are
    on another machine, as it is published."""
    from accelerate import init_empty_weights  # here: these libraries take seconds to start
    from diffusers import Krea2Transformer2DModel

    from easel.model import open_weights

    if place := hub.at_hand(settings.krea_turbo, ["transformer"]):
        return lora.shapes(open_weights.transformer_at(place).network)
    with init_empty_weights():
        return lora.shapes(Krea2Transformer2DModel())
