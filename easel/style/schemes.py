"""Which way each style reference acts on a picture of Krea's weights.

Up to four are looked at by the picture itself: in context where there is a LoRA for it, else through shared
attention. Those beyond, the weakest, act through the prompt.
"""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from easel.engine.krea import at_most
from easel.model.shared import balanced, weight_of
from easel.schema.painting import Reference

MOST = 4  # references that the picture itself looks at: more of them compete
CONTEXT_SIDE = 1024  # pixels a side of a square as large as a reference may be in context
SHARED_SIDE = 480  # the same where attention is shared: a fifth of a picture's tokens

Weighted = list[tuple[Image.Image, float]]


def schemes(references: Sequence[Reference], has_lora: bool) -> dict[str, Any]:
    """The references as fields of an engine's conditioning; those of strength 0 are left out."""
    felt = [one for one in references if one.strength != 0]
    order = sorted(range(len(felt)), key=lambda i: -abs(felt[i].strength))
    near = [felt[i] for i in sorted(order[:MOST])]
    seen = {"context": in_context(near)} if has_lora else {"looks": in_attention(near)}
    return {**seen, "tints": in_words([felt[i] for i in sorted(order[MOST:])])}


def in_context(references: Sequence[Reference]) -> Weighted:
    """For a LoRA that reads references in the picture's own sequence, at their strengths."""
    return [(at_most(one.image, CONTEXT_SIDE), one.strength) for one in references]


def in_attention(references: Sequence[Reference]) -> Weighted:
    """To share attention with, and how far attention goes to each."""
    weights = balanced([weight_of(one.strength) for one in references])
    return [(at_most(one.image, SHARED_SIDE), w) for one, w in zip(references, weights, strict=True)]


def in_words(references: Sequence[Reference]) -> Weighted:
    """To be shown to the text encoder, and how far the prompt goes towards each."""
    return [(one.image, weight_of(one.strength)) for one in references]
