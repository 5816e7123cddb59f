"""What the user asked for, in order, to what the engine paints from: words, sketch, references."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from easel.catalog import Model
from easel.engine.engine import Conditioning
from easel.model.krea2 import Krea2
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Adapter, Materials
from easel.style.adapters import Wardrobe
from easel.style.expand import expand
from easel.style.looks import joined, leading_hand, look_of
from easel.style.plan import Plan, plan
from easel.style.references import shown, together
from easel.style.scene import Library, draw
from easel.style.start import Start, drawn_over, started

NEAREST = 20  # drawings offered for a phrase
MARKS = 0.4  # how much stronger marks get at full intensity


@dataclass(frozen=True)
class Composition:
    conditioning: Conditioning
    plan: Plan
    start: Start | None
    worn: Sequence[tuple[Adapter, float]]  # styles, each at what its strength comes to


def compose(
    request: GenerationRequest,
    materials: Materials,
    model: Model,
    seed: int,
    krea: Krea2,
    library: Library,
    wardrobe: Wardrobe,
) -> Composition:
    """Expand the prompt, read the references, open the styles, plan the scene and draw it."""
    references, adapters = materials.references, materials.adapters
    strengths = together([*(one.strength for one in references), *(one.strength for one in adapters)])
    heard = shown(references, strengths[: len(references)])
    worn = list(zip(adapters, strengths[len(references) :], strict=True))
    styles = [(wardrobe.style(adapter, model.weights), s) for adapter, s in worn]
    triggers = [adapter.trigger_word for adapter, s in worn if s > 0 and adapter.trigger_word]
    width, height = request.size

    def similarity(phrases: list[str], others: list[str]) -> np.ndarray:
        return (krea.text.embed(phrases) @ krea.text.vocabulary(others).T).numpy()

    def nearest(phrases: list[str]) -> list[list[tuple[str, float]]]:
        best = (krea.text.embed(phrases) @ krea.drawing_vectors.T).topk(NEAREST)
        return [
            [(krea.drawing_keys[i], score) for i, score in zip(places, scores, strict=True)]
            for places, scores in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    complexity, movement, intensity = (
        setting / 100 for setting in (request.complexity, request.movement, request.intensity)
    )
    asked = without(request.prompt, [adapter.trigger_word for adapter in adapters])
    prompt = expand(asked, request.creativity, seed, any(strengths), library, similarity, materials.mood)
    planned = plan(prompt, width // 2, height // 2, seed, library, nearest, complexity, movement)
    looks = [(krea.reader.read(r.sheet, r.statistics), r.strength) for r in heard if r.strength > 0]
    looks += [(style.look, s) for style, s in styles if style.look and s > 0]
    looks.sort(key=lambda look: look[1], reverse=True)
    left = 1 - sum(strength for _, strength in looks)
    if left > 0 and (said := look_of(prompt, seed)):
        looks.append((said, left))
    looks = joined(looks)
    find = library.by(leading_hand(looks, model.weights), planned.scene.ground.dark)
    start = started(materials.start, request.size, request.strength) if materials.start else None
    if start and start.strength < 1:
        canvas, cover = drawn_over(start, planned, find)
    else:
        canvas, cover = draw(planned.scene.at(min(width, height)), find)
    heeded = start.heard if start else 1.0
    conditioning = Conditioning(
        prompt=", ".join([prompt, *triggers]),
        width=width,
        height=height,
        seed=seed,
        weights=model.weights,
        steps=model.steps,
        sketch=in_bytes(canvas),
        cover=in_bytes(cover),
        looks=[(look, heeded * pressed(strength, intensity)) for look, strength in looks],
        references=[shown._replace(strength=shown.strength * heeded) for shown in heard if heeded],
        styles=[(style.learnt, heeded * s) for style, s in styles if style.learnt and heeded],
        strength=start.strength if start else 1.0,
        intensity=intensity,
    )
    return Composition(conditioning, planned, start, [(adapter, heeded * s) for adapter, s in worn if heeded])


def pressed(strength: float, intensity: float) -> float:
    """The strength of marks at an intensity; above 1 they would turn the colours beneath them over."""
    return min(strength * (1 + MARKS * intensity), max(strength, 1))


def without(prompt: str, words: Sequence[str]) -> str:
    """The prompt without words that stand for styles: no drawing shows such a thing."""
    for word in filter(None, words):
        prompt = re.sub(rf"(?i)[\s,]*(?<!\w){re.escape(word)}(?!\w)", "", prompt)
    return prompt.strip(" ,") or "a picture"


def in_bytes(picture: np.ndarray) -> Image.Image:
    """Floats in 0..1, (H, W, 3) or (H, W), as a picture."""
    return Image.fromarray((picture.clip(0, 1) * 255).round().astype(np.uint8))
