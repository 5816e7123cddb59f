"""Trained styles in use: files are opened once, and networks that carry them are kept for a while."""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from easel.catalog import Weights
from easel.engine.engine import Learnt
from easel.errors import EngineError, StyleError
from easel.model import lora, lora_files
from easel.model.krea2 import Krea2, Networks
from easel.model.look import INKS, Look
from easel.model.lora import Change, Changes
from easel.model.palette import Palette
from easel.schema.painting import Adapter

OPENED = 32  # files
CARRIED = 3  # sets of networks, of 25 to 45 MB each

Thing = TypeVar("Thing")


class Style(NamedTuple):
    """What a style's file holds; one that was trained elsewhere has changes of the transformer alone."""

    changes: Mapping[str, Changes]  # by the part of the model
    look: Look | None = None
    learnt: Learnt | None = None


class Wardrobe:
    """The styles that a checkpoint was lately painted with."""

    def __init__(self, model: Krea2):
        self._model = model
        self._styles: dict[Hashable, Style] = {}
        self._networks: dict[Hashable, Networks] = {}

    def style(self, adapter: Adapter, weights: Weights) -> Style:
        """What the adapter's file holds; EngineError if it does not fit the transformer of these weights."""
        return recent(
            self._styles, (adapter.id, weights), OPENED, lambda: opened(adapter, self._model, weights)
        )

    def networks(self, weights: Weights, worn: Sequence[tuple[Adapter, float]]) -> Networks:
        """The checkpoint's networks carrying adapters, each at its strength; without any, its very own."""
        if not worn:
            return self._model
        key = (weights, *((adapter.id, strength) for adapter, strength in worn))
        return recent(self._networks, key, CARRIED, lambda: self._carrying(weights, worn))

    def _carrying(self, weights: Weights, worn: Sequence[tuple[Adapter, float]]) -> Networks:
        styles = [(self.style(adapter, weights).changes, strength) for adapter, strength in worn]
        transformer = lora.adapted(
            self._model.transformers[weights], [(changes.get("transformer", {}), s) for changes, s in styles]
        )
        decoder = lora.adapted(
            self._model.vae,
            [
                ({f"decoder.{k}": v for k, v in changes.get("decoder", {}).items()}, s)
                for changes, s in styles
                if s > 0  # it cannot paint the opposite of a texture
            ],
        )
        return Networks({weights: transformer}, decoder, self._model.text)


def recent(cache: dict[Hashable, Thing], key: Hashable, most: int, make: Callable[[], Thing]) -> Thing:
    """What is in the cache, or else is made and put there in place of what was not asked for the longest."""
    thing = cache.pop(key) if key in cache else make()
    cache[key] = thing
    if len(cache) > most:
        del cache[next(iter(cache))]
    return thing


def opened(adapter: Adapter, model: Krea2, weights: Weights) -> Style:
    """What is in the adapter's file; EngineError if it was made for another checkpoint."""
    parts: dict[str, nn.Module] = {"transformer": model.transformers[weights], "decoder": model.vae.decoder}
    try:
        file = lora_files.read(adapter.data)
        changes = {
            part: lora.fitted(layers, lora.shapes(parts[part])) for part, layers in file.changes.items()
        }
    except StyleError as error:
        raise EngineError(f"The style {adapter.id!r} cannot be used: {error.message}") from error
    if "look" not in file.metadata:
        return Style(changes)
    known = file.others
    learnt = Learnt(Palette(known["palette.colours"], known["palette.weights"]), known["code"])
    return Style(changes, look_of(json.loads(file.metadata["look"]), known), learnt)


def look_of(told: Mapping[str, Any], known: Mapping[str, Tensor]) -> Look:
    return Look(
        told["hand"],
        told["technique"],
        told["numbers"],
        dict(zip(INKS, known["look.inks"], strict=True)),
        known["look.ramp"],
        told["amount"],
    )


def written(
    changes: Mapping[str, Mapping[str, Change]], look: Look, learnt: Learnt, metadata: Mapping[str, str]
) -> bytes:
    """The file of a style that was trained here."""
    told = {field: getattr(look, field) for field in ("hand", "technique", "numbers", "amount")}
    others = {
        "look.inks": torch.stack([look.colours[ink] for ink in INKS]),
        "look.ramp": look.ramp,
        "palette.colours": learnt.palette.colours,
        "palette.weights": learnt.palette.weights,
        "code": learnt.code,
    }
    return lora_files.written(changes, others, {**metadata, "look": json.dumps(told)})
