"""Ground: the models on offer, their prices, and the sizes of their pictures."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Tier = Literal["text-to-image", "srefs", "moodboards"]
Weights = Literal["raw", "turbo"]  # as trained, or distilled to few steps

SIZES: dict[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "4:3": (1184, 896),
    "3:2": (1248, 832),
    "16:9": (1376, 768),
    "2.35:1": (1568, 672),
    "4:5": (928, 1152),
    "3:4": (896, 1184),
    "2:3": (832, 1248),
    "9:16": (768, 1376),
}


@dataclass(frozen=True)
class Model:
    """One model on offer: the last part of its route names the variant."""

    variant: str
    title: str
    weights: Weights
    steps: int
    guidance: float
    prices: dict[Tier, Decimal]  # USD a finished picture


@dataclass(frozen=True)
class Recipe:
    """How Krea's open weights paint one of the models on offer."""

    weights: Weights
    steps: int
    guidance: float  # v = cond + guidance * (cond - uncond)


def _prices(text: str, references: str, moodboard: str) -> dict[Tier, Decimal]:
    return {
        "text-to-image": Decimal(text),
        "srefs": Decimal(references),
        "moodboards": Decimal(moodboard),
    }


MODELS: dict[str, Model] = {
    "medium": Model("medium", "Krea 2 Medium", "turbo", 8, 0.0, _prices("0.030", "0.035", "0.040")),
    "medium-turbo": Model(
        "medium-turbo", "Krea 2 Medium Turbo", "turbo", 4, 0.0, _prices("0.015", "0.0175", "0.020")
    ),
    "large": Model("large", "Krea 2 Large", "raw", 20, 0.0, _prices("0.060", "0.065", "0.070")),
}

RECIPES: dict[str, Recipe] = {
    "medium": Recipe("turbo", 8, 0.0),  # as its authors recommend
    "medium-turbo": Recipe("turbo", 4, 0.0),
    "large": Recipe("raw", 52, 3.5),  # as its authors recommend
}
