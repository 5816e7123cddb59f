"""LoRA styles on Krea's weights: their files are opened once, and lie ready on the device for a while."""

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import torch

from easel.catalog import Weights
from easel.errors import EngineError, StyleError
from easel.model import lora, lora_files
from easel.model.lora import Changes, Style
from easel.model.open_weights import style_lora_at
from easel.model.part import Part
from easel.schema.generation import MOST_STYLES
from easel.schema.painting import Adapter
from easel.style.adapters import recent

READY = MOST_STYLES  # one of rank 32 for all layers takes a quarter of a GB
READING = "reads references"  # the name of the LoRA that does


class KreaWardrobe:
    """The styles that were lately painted with, and the LoRA with which Turbo reads references."""

    def __init__(
        self, transformers: Mapping[Weights, Part], device: torch.device, reading: Path | None = None
    ) -> None:
        self._transformers, self._device = transformers, device
        self._ready: dict[Hashable, Changes] = {}
        self._reading: Changes = {}
        if reading:
            turbo = transformers["turbo"]
            self._reading = placed(style_lora_at(reading, turbo.network), turbo, device)

    def reads_in_context(self, weights: Weights) -> bool:
        """Whether references are read in context."""
        return bool(self._reading) and weights == "turbo"

    def worn(self, adapters: Sequence[Adapter], weights: Weights, reading: bool) -> list[Style]:
        """What the transformer carries to paint in these styles and, if it is `reading`, to read references;
        EngineError if a style is not for it."""
        styles = [Style(one.id, self._changes(one, weights), one.strength) for one in adapters]
        return [*styles, Style(READING, self._reading, 1.0)] if reading else styles

    def _changes(self, adapter: Adapter, weights: Weights) -> Changes:
        part = self._transformers[weights]
        return recent(
            self._ready, (adapter.id, self._device), READY, lambda: opened(adapter, part, self._device)
        )


def opened(adapter: Adapter, part: Part, device: torch.device) -> Changes:
    """What is in the adapter's file, on the device in the transformer's precision."""
    try:
        parts = lora_files.read(adapter.data).changes.values()
        fits = [lora.fitted(layers, lora.shapes(part.network)) for layers in parts]
    except StyleError as error:
        raise EngineError(f"The style {adapter.id!r} cannot be used: {error.message}") from error
    return {name: change for layers in fits for name, change in placed(layers, part, device).items()}


def placed(changes: Changes, part: Part, device: torch.device) -> Changes:
    """The changes on the device, in the precision that the transformer is multiplied in."""
    return {name: change.to(device, part.dtype) for name, change in changes.items()}


def with_triggers(prompt: str, adapters: Sequence[Adapter]) -> str:
    """The prompt, at its end the words for styles that it does not say yet."""
    words = dict.fromkeys(adapter.trigger_word for adapter in adapters if adapter.strength > 0)
    unsaid = [w for w in words if w and not re.search(rf"(?i)(?<!\w){re.escape(w)}(?!\w)", prompt)]
    return ", ".join([prompt, *unsaid])
