"""A prompt read as things, how they stand to each other, a place and a look: shallow grammar, no model."""

from dataclasses import dataclass, field, replace

from easel.style.nouns import Meaning, Noun
from easel.style.vocabulary import MATERIALS, SLOTS, Place
from easel.style.words import (
    LEXICON,
    STOPS,
    SWITCHES,
    Phrasebook,
    inflected,
    looks,
    singular,
    split,
    word_list,
)

AIRBORNE = word_list("airborne")
TILTS: dict[str, float] = LEXICON["tilts"]
DETERMINERS = frozenset(("a", "an", "the", "his", "her", "its", "their", "my", "your", "our", "some", "this"))
BACKDROPS = frozenset(("background", "backdrop", "wall", "wallpaper"))
PLACING = frozenset(("in", "on", "near"))  # relations that make a place of whatever can be one
CERTAIN = 0.9  # score of a name or a synonym


@dataclass(frozen=True)
class Thing:
    """Something to draw."""

    phrase: str  # as the prompt has it, without colour and number
    drawings: tuple[str, ...] = ()  # keys in the library; none: to be found by likeness
    score: float = 0.0
    count: int = 0  # 0: not said
    plural: bool = False
    colour: str | None = None
    relation: str = "and"  # to what stands before it
    airborne: bool = False
    tilt: float = 0.0


@dataclass
class Reading:
    """What a prompt asks for."""

    things: list[Thing] = field(default_factory=list)
    place: Place | None = None
    season: Place | None = None
    place_colour: str | None = None
    backdrop: str | None = None  # colour of the background, if it is said
    looks: dict[str, str] = field(default_factory=dict)  # slot → the first key named

    def look(self, slot: str) -> str | None:
        """The key the prompt names for a slot, if it is one that can be drawn."""
        key = self.looks.get(slot)
        return key if key in SLOTS[slot] else None


@dataclass
class Chunk:
    """The words between two joints of a sentence: at most one thing or place."""

    relation: str = "and"
    parts: list[tuple[str, Noun]] = field(default_factory=list)
    count: int = 0
    colour: str | None = None
    airborne: bool = False
    tilt: float = 0.0


def parse(prompt: str, book: Phrasebook[Meaning]) -> Reading:
    """Read the prompt from left to right, chunk by chunk."""
    words = split(prompt)
    reading, chunk = Reading(looks=dict(reversed(looks(words)))), Chunk()
    ignored = ""  # "lead" while a style is described, "refusal" while something is not wanted
    start = 0
    while start < len(words):
        length, meaning = book.at(words, start) or (1, guess(words[start]))
        text = " ".join(words[start : start + length])
        start += length
        if text in STOPS or (ignored == "refusal" and text in SWITCHES):
            ignored = ""
        elif ignored:
            continue
        if text in DETERMINERS and chunk.parts:  # "a boy flying | a kite"
            chunk = closed(chunk, reading, "and")
        move(text, chunk, reading)
        match meaning.kind:
            case "lead" | "refusal":
                chunk, ignored = closed(chunk, reading, "and"), meaning.kind
            case "relation":
                chunk = closed(chunk, reading, meaning.value)
            case "stop" | "verb":
                chunk = closed(chunk, reading, "and")
            case "measure":
                chunk.parts.clear()
            case "number":
                chunk.count = max(chunk.count, meaning.value)
            case "colour":
                chunk.colour = meaning.value
            case "noun":
                chunk.parts.append((text, meaning.value))
        if text in BACKDROPS:
            reading.backdrop = chunk.colour
            chunk = Chunk()
    closed(chunk, reading, "and")
    reading.place = reading.place or reading.season
    return reading


def guess(word: str) -> Meaning:
    """What a word may be that no book knows, by its ending."""
    if word in STOPS:
        return Meaning("stop")
    if len(word) < 3 or word.isdigit():
        return Meaning("filler")
    ending = inflected(word)
    if ending:
        return Meaning(ending)
    return Meaning("noun", Noun(score=0.0))


def move(text: str, chunk: Chunk, reading: Reading) -> None:
    """Lift and tilt what jumps: the thing being read, else the one before, else the one to come."""
    for word in text.split():
        airborne, tilt = word in AIRBORNE, TILTS.get(word, 0.0)
        if not (airborne or tilt):
            continue
        if chunk.parts or not reading.things:
            chunk.airborne, chunk.tilt = chunk.airborne or airborne, chunk.tilt or tilt
        else:
            last = reading.things[-1]
            reading.things[-1] = replace(last, airborne=last.airborne or airborne, tilt=last.tilt or tilt)


def closed(chunk: Chunk, reading: Reading, relation: str) -> Chunk:
    """Put what the chunk says into the reading and open the next one."""
    if not chunk.parts:  # "sitting" and "on": what was said so far belongs to what comes
        return replace(chunk, relation=relation if relation != "and" else chunk.relation)
    text, noun = head(chunk)
    stuffs = [MATERIALS[word] for word, _ in chunk.parts if word in MATERIALS and word != text]
    colour = chunk.colour or (stuffs[0] if stuffs else None)
    for _, part in chunk.parts:
        if part.place and not part.drawings and part is not noun:  # "a desert fox"
            happens(reading, part.place, None)
    if chunk.relation == "made" and reading.things and (text in MATERIALS or not noun.drawings):
        reading.things[-1] = replace(reading.things[-1], colour=MATERIALS.get(text))
    elif noun.place and (not noun.drawings or chunk.relation in PLACING):
        happens(reading, noun.place, colour)
    else:
        others = [part for _, part in chunk.parts if part.alive and part is not noun]
        if noun.alive and others and others[-1].score >= CERTAIN:  # "an astronaut cat"
            reading.things.append(Thing(text, others[-1].drawings, others[-1].score, relation=chunk.relation))
            chunk.relation = "and"
        known = [word for word, part in chunk.parts if part.drawings or part.score == 0]
        reading.things.append(
            Thing(
                phrase=text if noun.drawings else " ".join(known),
                drawings=noun.drawings,
                score=noun.score,
                count=chunk.count,
                plural=text != singular(text),
                colour=colour,
                relation=chunk.relation,
                airborne=chunk.airborne,
                tilt=chunk.tilt,
            )
        )
    return Chunk(relation)


def happens(reading: Reading, place: Place, colour: str | None) -> None:
    """Put the scene there, unless it is somewhere already; a season only lends its colours."""
    if place.season:
        reading.season = reading.season or place
    elif reading.place is None:
        reading.place, reading.place_colour = place, colour


def head(chunk: Chunk) -> tuple[str, Noun]:
    """What the chunk is about: the last of its surest nouns."""

    def sure(noun: Noun) -> tuple[bool, bool]:
        return noun.score >= CERTAIN and bool(noun.drawings or noun.place), noun.score > 0

    surest = max(sure(noun) for _, noun in chunk.parts)
    return [(text, noun) for text, noun in chunk.parts if sure(noun) == surest][-1]
