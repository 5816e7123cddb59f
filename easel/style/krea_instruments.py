"""Intensity, complexity and movement on Krea's weights: phrases between which a prompt is moved."""

import tomllib
from pathlib import Path

from easel.model.prompts import Pairs
from easel.schema.generation import GenerationRequest

PHRASES: dict[str, Pairs] = {
    instrument: tuple((more, less) for more, less in pairs)
    for instrument, pairs in tomllib.loads(Path(__file__).with_suffix(".toml").read_text()).items()
}


def asked(request: GenerationRequest) -> dict[str, int]:
    """The instruments that the request does not leave at 0."""
    settings = {instrument: getattr(request, instrument) for instrument in PHRASES}
    return {instrument: setting for instrument, setting in settings.items() if setting}


def moves(request: GenerationRequest) -> list[tuple[Pairs, float]]:
    """Between which phrases the prompt is moved, and how far, -1..1."""
    return [(PHRASES[instrument], setting / 100) for instrument, setting in asked(request).items()]
