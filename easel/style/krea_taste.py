"""The taste of a moodboard in words of a language model that sees its pictures."""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from PIL import Image

from easel.errors import NoAnswer
from easel.model.reader import LookReader
from easel.schema.painting import Taste, unheard
from easel.style.checks import LEAKS, MARKUP, REFUSES, straight
from easel.style.taste import taste

SIDE = 512  # pixels of the longer side of what is kept of a picture
MOST_SHOWN = 8  # pictures, each in the middle of a cluster
CAPTION_TOKENS, BOARD_TOKENS = 150, 500
FEWEST, MOST = 6, 8  # keywords
LONGEST_WORD, LONGEST_PROFILE = 40, 1500  # characters
TOLD: dict[str, str] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
Ask = Callable[..., str]  # of instruction, question and pictures: the answer, or NoAnswer
LINES = re.compile(r"\s*PROFILE: *(.+)\s+KEYWORDS: *(.+)\s+AVOIDS: *(.+)\s*")


class Sees(Protocol):
    """A language model that can be asked about pictures."""

    name: str

    def ask(self, *args: Any, **given: Any) -> str:
        """As `easel.model.speaker.Speaker.ask`."""
        ...


class Words(NamedTuple):
    """What is said of a board."""

    profile: str
    keywords: list[str]
    avoids: list[str]


def told_taste(
    pictures: Iterable[Image.Image],
    reader: LookReader,
    model: Sees,
    going_on: Callable[[], None] = unheard,
) -> Taste:
    """Group the pictures by the small reader, and have `model` put the groups into words."""
    kept: list[Image.Image] = []
    read = taste(keeping(pictures, kept), reader)
    return in_words(read, kept, model, going_on)


def in_words(
    read: Taste, kept: Sequence[Image.Image], model: Sees, going_on: Callable[[], None] = unheard
) -> Taste:
    """What was read of pictures in the words of `model`; where it says nothing that can be used, the reader's
    words stay."""
    ask = partial(model.ask, temperature=0, seed=0, going_on=going_on)
    largest = sorted(read.clusters, key=lambda cluster: -cluster.weight)[:MOST_SHOWN]
    try:
        notes = [
            f"{cluster.weight:.0%} of the pictures: {captioned(kept[cluster.medoid], ask)}"
            for cluster in largest
        ]
        words = parsed(ask(TOLD["board"].strip(), "\n".join(notes), most=BOARD_TOKENS))
    except NoAnswer as error:
        return replace(read, words_by=f"the small reader: {error.message}")
    return replace(read, **words._asdict(), words_by=model.name)


def keeping(pictures: Iterable[Image.Image], kept: list[Image.Image]) -> Iterator[Image.Image]:
    """Hand the pictures on, keeping a small copy of each."""
    for picture in pictures:
        small = picture.copy()
        small.thumbnail((SIDE, SIDE))
        kept.append(small)
        yield picture


def captioned(picture: Image.Image, ask: Ask) -> str:
    """What the look of a picture is, in one line; NoAnswer if that is nothing to go by."""
    answer = ask(TOLD["caption"].strip(), TOLD["question"], [picture], most=CAPTION_TOKENS)
    return checked(" ".join(answer.split()), "a caption")


def contents(picture: Image.Image, model: Sees) -> str:
    """What a picture shows and not how, in one line; "" where the model has nothing to go by."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE))
    try:
        answer = model.ask(
            TOLD["shows"].strip(), TOLD["contents"], [small], most=CAPTION_TOKENS, temperature=0, seed=0
        )
        return checked(" ".join(answer.split()), "a caption")
    except NoAnswer:
        return ""


def parsed(answer: str) -> Words:
    """The three lines that were asked for; NoAnswer saying what is wrong with them."""
    lines = LINES.fullmatch(answer)
    if not lines:
        raise NoAnswer("the model did not answer in three lines")
    profile = checked(lines[1].strip(), "the profile")
    keywords, avoids = listed(lines[2]), listed(lines[3])
    if len(keywords) < FEWEST:
        raise NoAnswer(f"the model named {len(keywords)} keywords, not {FEWEST} to {MOST}")
    keywords = keywords[:MOST]
    return Words(profile, keywords, [avoid for avoid in avoids[:MOST] if avoid not in keywords])


def listed(line: str) -> list[str]:
    """Words between commas, each once; NoAnswer if one is no word."""
    words = list(dict.fromkeys(word.strip(" .").lower() for word in line.split(",")))
    for word in words:
        if not 1 < len(word) <= LONGEST_WORD or not re.fullmatch(r"[\w' &/+-]+", word):
            raise NoAnswer(f"the model named {word[:LONGEST_WORD]!r}, which is no keyword")
    return words


def checked(text: str, name: str) -> str:
    """The text, if it is prose; NoAnswer otherwise."""
    plain = straight(text)
    if (
        not 10 <= len(text) <= LONGEST_PROFILE
        or not text.isprintable()
        or any(pattern.search(plain) for pattern in (LEAKS, MARKUP))
        or REFUSES.match(plain)
    ):
        raise NoAnswer(f"the model gave nothing to go by for {name}")
    return text
