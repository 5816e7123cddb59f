"""Prompt to scene: which drawings, on which ground, laid out for the frame and varied by the seed."""

import random
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from easel.style.arrange import arrange
from easel.style.choice import Nearest, wanted
from easel.style.ground import chosen_ground
from easel.style.nouns import phrasebook
from easel.style.parse import parse
from easel.style.scene import Library, Scene


class Choice(NamedTuple):
    """A drawing that stands for a phrase of the prompt."""

    phrase: str
    drawing: str
    name: str
    score: float


@dataclass(frozen=True)
class Plan:
    scene: Scene
    chosen: tuple[Choice, ...]
    around: tuple[str, ...]  # names of what else stands there
    palette: str | None
    technique: str | None
    light: str | None

    def summary(self) -> dict[str, Any]:
        """What was planned, as JSON."""
        return {
            "drawings": [choice._asdict() for choice in self.chosen],
            "around": list(self.around),
            "ground": self.scene.ground.kind,
            "detail": self.scene.ground.detail,
            "tilt": self.scene.ground.tilt,
            "palette": self.palette,
            "technique": self.technique,
            "light": self.light,
        }


def plan(
    prompt: str,
    width: int,
    height: int,
    seed: int,
    library: Library,
    nearest: Nearest,
    complexity: float = 0,
    movement: float = 0,
) -> Plan:
    """Read the prompt, choose drawings and ground, and lay them out, as full and as lively as the instruments
    say (-1..1)."""
    rng = random.Random(f"{seed} {prompt}")
    reading = parse(prompt, phrasebook(library))
    things = wanted(prompt, reading, library, nearest, rng)
    ground = chosen_ground(reading, things, library, width / height, rng)
    ground = replace(ground, detail=complexity, movement=movement)
    items = arrange(reading, things, ground, library, width / height, rng, complexity, movement)
    chosen = tuple(Choice(t.phrase, key, library.names[key], t.score) for t in things for key in t.drawings)
    subjects = {choice.drawing for choice in chosen}
    return Plan(
        scene=Scene(width, height, ground, items),
        chosen=chosen,
        around=tuple(library.names[item.drawing] for item in items if item.drawing not in subjects),
        palette=reading.look("palette"),
        technique=reading.look("medium"),
        light=reading.look("light"),
    )
