"""LoRA files from elsewhere: whether they fit the checkpoint, and which of its transformers they change."""

from pathlib import Path
from typing import NamedTuple, get_args

from easel.errors import StyleError
from easel.model import lora, weights
from easel.schema.styles import WEIGHTS, TrainedModel


class Found(NamedTuple):
    """What a file is."""

    model: TrainedModel
    title: str  # as its trainer says, or ""
    trigger_word: str


def examined(data: bytes, checkpoint: Path | None, wanted: TrainedModel | None) -> Found:
    """What the LoRA in `data` is for: as `wanted`, as it says itself, or as its layers fit; StyleError naming
    what it changes and what is needed, if it fits no transformer of the checkpoint."""
    file = lora.read(data)
    folder = checkpoint or weights.SHIPPED
    said = wanted or file.metadata.get("model")
    known: tuple[TrainedModel, ...] = get_args(TrainedModel)
    misfits: list[StyleError] = []
    fits: list[TrainedModel] = []
    for model in [model for model in known if said in (None, model)] or list(known):
        try:
            lora.fitted(
                file.changes.get("transformer", {}),
                weights.shapes(folder / WEIGHTS[model] / "weights.safetensors"),
            )
            fits.append(model)
        except StyleError as misfit:
            misfits.append(misfit)
    if not fits:
        raise misfits[0]
    if len(fits) > 1:
        raise StyleError(f"The LoRA fits {' and '.join(fits)}: say which it was trained on with --model")
    return Found(fits[0], file.metadata.get("title", ""), file.metadata.get("trigger_word", ""))
