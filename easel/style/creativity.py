"""Creativity with a language model: a prompt is written anew as far as was asked, or painted as it is."""

import random
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from easel.errors import NoAnswer, UnsafePrompt
from easel.schema.generation import Creativity
from easel.style.checks import MOST_TOKENS, Draft, complaint
from easel.style.expanders import Expander

DETAILED = 350  # tokens of a prompt that leaves nothing open
TOLD: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())


class Expansion(NamedTuple):
    """A prompt to paint, and how it came about."""

    prompt: str
    done: str  # "verbatim", "expanded", "fell back"
    why: str  # or by whom

    @property
    def told(self) -> str:
        return f"{self.done}: {self.why}"


def expanded(
    prompt: str,
    creativity: Creativity,
    seed: int,
    expander: Expander,
    *,
    tokens: Callable[[str], int],
    styled: bool = False,
    avoids: Sequence[str] = (),
    going_on: Callable[[], None] = lambda: None,
) -> Expansion:
    """The prompt as `expander` writes it anew, if that passes all checks; else as it is.

    `styled`: references or a board give the look. `avoids` are not to be named. `tokens` counts.
    """
    if creativity == "raw":
        return Expansion(prompt, "verbatim", "creativity is raw")
    if tokens(prompt) > DETAILED:
        return Expansion(prompt, "verbatim", f"the prompt is detailed, with more than {DETAILED} tokens")
    most = most_words(prompt)
    try:
        answer = expander.ask(
            instruction(creativity, seed, most, styled, avoids),
            prompt,
            most=MOST_TOKENS,
            temperature=TOLD["temperatures"][creativity],
            seed=seed,
            going_on=going_on,
        )
    except NoAnswer as error:
        return Expansion(prompt, "fell back", error.message)
    text = tidied(answer)
    draft = Draft(prompt, text, tokens(text), most if creativity == "low" else None, styled, avoids)
    if wrong := complaint(draft):
        return Expansion(prompt, "fell back", wrong)
    return Expansion(text, "expanded", f"by {expander.name}")


def agreed(
    expansion: Expansion, asked: str, finished: Callable[[str], str], judge: Callable[[str], None]
) -> Expansion:
    """The expansion, if `judge` lets pass what it comes to when it is `finished`; if it refuses what was
    added, the prompt that was `asked` for. What else it raises ends the painting."""
    try:
        judge(finished(expansion.prompt))
        return expansion
    except UnsafePrompt:
        if expansion.done != "expanded":
            raise
    judge(finished(asked))
    return Expansion(asked, "fell back", "the filter refuses what was added")


def instruction(
    creativity: Creativity, seed: int, most: int, styled: bool, avoids: Sequence[str] = ()
) -> str:
    """What the language model is told to do."""
    angle = random.Random(f"{seed} angle").choice(TOLD["angles"])
    parts = [TOLD["task"], TOLD["levels"][creativity].format(most=most, angle=angle)]
    parts += [TOLD["styled"]] if styled else []
    parts += [TOLD["avoids"].format(avoids=", ".join(avoids))] if avoids else []
    return "\n".join(parts).strip()


def most_words(prompt: str) -> int:
    """How many words fill a prompt's plain gaps: half as many again as it has, but ten more at least."""
    words = len(prompt.split())
    return max(words * 3 // 2, words + 10)


def tidied(answer: str) -> str:
    """The answer without what a model thought before it, and without the marks around it."""
    text = re.sub(r"\A\s*<think>.*?</think>", "", answer, flags=re.DOTALL).strip()
    if len(text) > 1 and text[0] + text[-1] in ('""', "“”") and not re.search('["“”]', text[1:-1]):
        text = text[1:-1].strip()
    return text
