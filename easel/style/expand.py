"""Creativity: a prompt grows by what it leaves open, seeded, without a language model."""

import math
import random
import re
from collections.abc import Callable
from typing import Any

from easel.schema.painting import UNMOVED, Mood
from easel.style.bonds import Bonds, agree, bound, met, scene_of
from easel.style.scene import Library
from easel.style.vocabulary import CLASHES, COLOURS, SLOTS
from easel.style.words import looks, refusals, singular, split

Matrix = Any  # cosines, a row for each of the first phrases
Similarity = Callable[[list[str], list[str]], Matrix]

COUNTS = {"low": (1, 2), "medium": (3, 4), "high": (len(SLOTS), len(SLOTS))}  # slots to fill: least, most
CONTENT = ("composition", "camera", "setting", "light")  # slots that say what is seen, not how it is made
MOST_BYTES = 1500  # about 500 tokens of the text encoder
NEAR = 0.62  # cosine from which a clause counts as saying a slot's phrase


def expand(
    prompt: str,
    creativity: str,
    seed: int,
    styled: bool,
    library: Library,
    similarity: Similarity | None = None,
    mood: Mood = UNMOVED,
) -> str:
    """The prompt with phrases added for some slots it leaves empty: none for "raw", all for "high".

    `styled`: references give the look, so only what is seen may be added. The mood's keywords come before,
    unless the prompt says otherwise, and what it avoids is not added. Nor is what goes ill with the prompt: a
    place, a weather, a time of day that its words, or its things as `library` draws them, leave no room for.
    """
    if creativity == "raw" or len(prompt.encode()) > MOST_BYTES:
        return prompt
    rng = random.Random(f"{seed} {prompt}")
    words = split(prompt)
    refused = {singular(word) for word in refusals(words)}
    facts = stated(words) | {f"no:{word}" for word in refused}
    filled = {fact.split(":")[0] for fact in facts} | near(prompt, similarity)
    shunned = {avoid.lower(): set(looks(split(avoid))) for avoid in mood.avoids}
    added = [word for word in mood.keywords if not slots(word) & filled and not avoided(word, shunned)]
    facts |= {fact for word in added for fact in stated(split(word))}
    filled |= {slot for word in added for slot in slots(word)}
    scene = met(scene_of(prompt, library), *map(bound, added))
    empty = [slot for slot in SLOTS if slot not in filled and (slot in CONTENT or not styled)]
    chosen = rng.sample(empty, min(len(empty), rng.randint(*COUNTS[creativity])))
    for slot in sorted(chosen, key=list(SLOTS).index):
        options = [
            (key, phrase)
            for key, phrases in SLOTS[slot].items()
            if not clashes(f"{slot}:{key}", facts)
            for phrase in phrases[:3]
            if not mentions(phrase, refused) and not avoided(phrase, shunned)
            if agree(scene, placed(slot, key, phrase))
        ]
        if options:
            weights = [1 / sum(key == other for other, _ in options) for key, _ in options]
            if similarity:
                likeness = similarity([prompt], [phrase for _, phrase in options])[0]
                weights = [w * math.exp(6 * s) for w, s in zip(weights, likeness, strict=True)]
            key, phrase = rng.choices(options, weights)[0]
            facts.add(f"{slot}:{key}")
            scene = met(scene, placed(slot, key, phrase))
            added.append(phrase)
    return join(prompt, added)


def stated(words: list[str]) -> set[str]:
    """What the prompt says, as "slot:key"."""
    facts = {f"{slot}:{key}" for slot, key in looks(words)}
    return facts | ({"palette:stated"} if any(word in COLOURS for word in words) else set())


def near(prompt: str, similarity: Similarity | None) -> set[str]:
    """The slots that some clause of the prompt fills in words of its own."""
    clauses = [
        clause for clause in re.split(r"[,.;:]| with | in | at | of | under ", prompt) if clause.strip()
    ]
    if not similarity or not clauses:
        return set()
    phrases = [(slot, phrase) for slot in SLOTS for options in SLOTS[slot].values() for phrase in options]
    rows = similarity(clauses, [phrase for _, phrase in phrases])
    return {slot for row in rows for (slot, _), cosine in zip(phrases, row, strict=True) if cosine > NEAR}


def placed(slot: str, key: str, phrase: str) -> Bonds:
    """What a phrase of a slot binds the scene to."""
    return met(bound(phrase), {slot: frozenset((key,))})


def clashes(option: str, facts: set[str]) -> bool:
    return any(option in CLASHES.get(fact, ()) or fact in CLASHES.get(option, ()) for fact in facts)


def slots(phrase: str) -> set[str]:
    """What a phrase says something of."""
    return {slot for slot, _ in looks(split(phrase))}


def avoided(phrase: str, shunned: dict[str, set[tuple[str, str]]]) -> bool:
    """Whether the phrase says what is shunned, in the same words or in others of the same meaning."""
    said = set(looks(split(phrase)))
    return any(text in phrase.lower() or said & meant for text, meant in shunned.items())


def mentions(phrase: str, refused: set[str]) -> bool:
    return any(word.startswith(bad) for word in split(phrase) for bad in refused if len(bad) > 3)


def join(prompt: str, added: list[str]) -> str:
    """The prompt as it was written, then the phrases."""
    if not added:
        return prompt
    text = ", ".join(added)
    if prompt.rstrip().endswith((".", "!", "?")):
        return f"{prompt.rstrip()} {text[0].upper()}{text[1:]}."
    return f"{prompt.rstrip(' ,;')}, {text}"
