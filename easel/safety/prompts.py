"""What prompts ask for that is not painted: the rules of `rules.toml`, read through disguises."""

import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easel.errors import UnsafePrompt

LOOKALIKES = str.maketrans("асеіјорѕухкмтвнιονρτυχκα", "aceijopsyxkmtbhiovptuxka")
DIGITS = str.maketrans("01345789@$!€+|", "oieastbgasietl")
ELLS = DIGITS | str.maketrans("1!|", "lll")

SPELLED = re.compile(r"(?<!\w)\w(?:[ .*_/-]\w(?!\w)){2,}")  # n u d e, n.u.d.e
INNER_MARKS = re.compile(r"(?<=\w)['’`*_.~/\\-]+(?=\w)")  # noqa: RUF001
LENGTHS = range(4, 9)  # of the words that are looked for among letters
REPEATED = re.compile(r"(.)\1{2,}")
MARKS = re.compile(r"[.,;:!?()\n]+")

REFUSED = r"\b(?:no|not|non|without|never|avoid|free of)(?: (?:any|a|an|the|more|visible|explicit))*"


@dataclass(frozen=True)
class Rule:
    """What is not painted, as patterns over words that one space parts."""

    name: str
    always: bool  # on even when the filter is off
    harmless: re.Pattern[str]  # taken out before the rest is looked for
    subjects: re.Pattern[str]
    strong: re.Pattern[str]
    weak: re.Pattern[str]
    context: re.Pattern[str]

    def broken_by(self, readings: Sequence[str]) -> str | None:
        """The words that break the rule."""
        meant = [self.harmless.sub(",", reading) for reading in readings]
        if not any(map(self.subjects.search, meant)):
            return None
        explained = any(map(self.context.search, readings))
        telling = [self.strong] if explained else [self.strong, self.weak]
        found = (pattern.search(reading) for reading in meant for pattern in telling)
        return next((match[0] for match in found if match), None)


def check(prompt: str, rules: Sequence[Rule]) -> None:
    """Raise UnsafePrompt, which names the rule, if one is broken."""
    readings = read(prompt)
    for rule in rules:
        if said := rule.broken_by(readings):
            raise UnsafePrompt(
                f"The prompt breaks the rule {rule.name!r} with {said!r}: ask for something else"
            )


def read(prompt: str) -> list[str]:
    """A prompt's words as they stand, and in the other ways that an eye may read them."""
    plain = folded(prompt)
    spoken = [plain, translated(plain, DIGITS), translated(plain, ELLS)]
    closed = [INNER_MARKS.sub("", SPELLED.sub(closed_up, text)) for text in spoken]
    calm = [REPEATED.sub(kept, text) for text in spoken + closed for kept in (r"\1", r"\1\1")]
    return list(dict.fromkeys(words(text) for text in spoken + closed + calm))


def folded(text: str) -> str:
    """`text` in small Latin letters, without accents and what cannot be seen."""
    letters = unicodedata.normalize("NFKD", text)
    seen = "".join(letter for letter in letters if unicodedata.category(letter) not in ("Mn", "Cf"))
    return seen.casefold().translate(LOOKALIKES)


def translated(text: str, letters: Mapping[int, int]) -> str:
    """`text` with the letters that digits and signs stand for in words."""
    parts = text.split()
    return " ".join(part.rstrip("!").translate(letters) if part.upper() != part else part for part in parts)


def closed_up(spelled: re.Match[str]) -> str:
    """Letters without the gaps between them, and all the words that may begin and end among them."""
    letters = re.sub(r"\W|_", "", spelled[0])
    parts = (letters[start : start + length] for length in LENGTHS for start in range(len(letters)))
    return " ".join([letters, *parts])


def words(text: str) -> str:
    """Words and commas, which stand for every mark, with one space between them."""
    return " ".join(re.sub(r"[^\w,]|_", " ", MARKS.sub(" , ", text)).split())


def load() -> list[Rule]:
    """The rules of `rules.toml`."""
    tables = tomllib.loads(Path(__file__).with_name("rules.toml").read_text())["rule"]
    named = {table["name"]: table for table in tables}
    return [rule(table, named.get(table.get("include"), {})) for table in tables]


def rule(table: Mapping[str, Any], included: Mapping[str, Any]) -> Rule:
    strong = phrases(table, "strong") + phrases(included, "strong") + phrases(included, "weak")
    weak = phrases(table, "weak")
    harmless = phrases(table, "harmless") + phrases(included, "harmless")
    if not table.get("always"):
        thing = f"(?:{'|'.join(strong + weak)})"
        harmless.append(rf"{REFUSED} (?:\w+ (?:or|nor) )?{thing}(?: (?:or|nor|and) {thing})*")
    return Rule(
        name=table["name"],
        always=table.get("always", False),
        harmless=any_of(harmless),
        subjects=any_of(phrases(table, "subjects") or [""]),
        strong=any_of(strong),
        weak=any_of(weak),
        context=any_of(phrases(table, "context")),
    )


def phrases(table: Mapping[str, Any], key: str) -> list[str]:
    """The phrases in a field of a rule, as patterns that know the plural."""
    found = [phrase.strip() for phrase in table.get(key, "").split(",")]
    return [
        phrase.replace("*", r"\w*") + ("" if phrase.endswith("*") else "(?:e?s)?")
        for phrase in found
        if phrase
    ]


def any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(patterns)})\b" if patterns else "(?!)")


RULES = load()
EVEN_WHEN_OFF = [rule for rule in RULES if rule.always]
