"""What is looked at in a prompt that a language model wrote, before it is painted: each check says what is
wrong, or nothing."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from easel.style.expand import avoided
from easel.style.vocabulary import SIGNS, SLOTS
from easel.style.words import QUOTED, Phrasebook, inverted, looks, split, word_list

MOST_TOKENS = 500
ROOM = 1.25  # how far above its most words a short prompt may go
HEARD = 0.5  # of the request's words, that must come back
MARKS = "\"'“”«»‘’"  # noqa: RUF001
CAMERA = {"photograph", "film", "grain", "blur"}  # media that are not made by hand
COMPUTER = {"render", "clay", "pixel"}
FILLERS = word_list("fillers")
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")
REFUSES = re.compile(
    r"\W*(i'm sorry|i am sorry|sorry[,. ]|i (cannot|can not|can't|won't|will not|am unable|am not able)\b"
    r"|i'm (unable|not able)|as an ai\b|unfortunately, i\b|抱歉|对不起|我无法|我不能)",
    re.IGNORECASE,
)
LEAKS = re.compile(
    r"</?think|\A\W*(here('s| is| are)\b"
    r"|(sure|certainly|of course|okay|let me|let's|we need|the user|i will|i'll)\b"
    r"|((the|final|expanded|rewritten) )*prompt\s*:|answer\s*:|ok,|first, i\b)"
    r"|\b(the user (wants|asks|asked)|i hope this|let me know)\b",
    re.IGNORECASE,
)
MARKUP = re.compile(r"\A\s*[{\[]|```|^\s*(#{1,6} |[-*•] |\d+[.)] )|\*\*|^\s*\||\n\s*\n", re.MULTILINE)


@dataclass(frozen=True)
class Draft:
    """A prompt as it was asked for, and as it was written anew."""

    prompt: str
    answer: str
    tokens: int  # of the answer
    most_words: int | None = None  # that it may have
    styled: bool = False  # references or a board give the look
    avoids: Sequence[str] = ()


def refuses(draft: Draft) -> str:
    """The model declines, or says nothing."""
    if not draft.answer:
        return "the answer is empty"
    return "the model refused" if REFUSES.match(straight(draft.answer)) else ""


def leaks(draft: Draft) -> str:
    """It speaks of its work in place of doing it."""
    found = LEAKS.search(straight(draft.answer))
    return f"it thinks aloud: {found[0].strip()!r}" if found else ""


def is_marked_up(draft: Draft) -> str:
    """It is no paragraph of plain text."""
    return "it is no plain paragraph" if MARKUP.search(draft.answer) else ""


def is_long(draft: Draft) -> str:
    """It has too many tokens, or words."""
    if draft.tokens > MOST_TOKENS:
        return f"it has {draft.tokens} tokens, above {MOST_TOKENS}"
    words = len(draft.answer.split())
    if draft.most_words is not None and words > ROOM * draft.most_words:
        return f"it has {words} words, above {draft.most_words}"
    return ""


def loses_quotes(draft: Draft) -> str:
    """Text that was asked for in quotation marks is not there, letter by letter."""
    lost = [text for text in quoted(draft.prompt) if text not in draft.answer]
    return f"it left out the text {lost[0]!r}" if lost else ""


def changes_medium(draft: Draft) -> str:
    """The medium that was asked for is gone, or another kind comes first."""
    asked, given = media(draft.prompt), media(draft.answer)
    if lost := [medium for medium in asked if medium not in given]:
        return f"it left out the medium {lost[0]!r}"
    if asked and kind(given[0]) not in map(kind, asked):
        return f"it puts the medium {given[0]!r} first"
    return ""


def strays(draft: Draft) -> str:
    """Less than half of what was asked for comes back."""
    asked, given = contents(draft.prompt), contents(draft.answer)
    found = [word for word in asked if any(other.startswith(stem(word)) for other in given)]
    return "it says something else" if len(found) < HEARD * len(asked) else ""


def names_style(draft: Draft) -> str:
    """It names a look where pictures give it."""
    if not draft.styled:
        return ""
    asked = set(STYLES.found(split(draft.prompt)))
    added = [style for style in STYLES.found(split(draft.answer)) if style not in asked]
    return f"it names a style, {added[0]!r}, where pictures give it" if added else ""


def names_avoided(draft: Draft) -> str:
    """It names what is to be avoided."""
    for avoid in draft.avoids:
        shunned = {avoid.lower(): set(looks(split(avoid)))}
        if avoided(draft.answer, shunned) and not avoided(draft.prompt, shunned):
            return f"it names {avoid!r}, which is to be avoided"
    return ""


CHECKS: tuple[Callable[[Draft], str], ...] = (
    refuses,
    leaks,
    is_marked_up,
    is_long,
    loses_quotes,
    changes_medium,
    strays,
    names_style,
    names_avoided,
)


def complaint(draft: Draft) -> str:
    """What is wrong with it, or nothing."""
    return next(filter(None, (check(draft) for check in CHECKS)), "")


def straight(text: str) -> str:
    """The text with straight apostrophes."""
    return text.replace("\u2019", "'")


def quoted(text: str) -> list[str]:
    """What stands in quotation marks."""
    return [inner for match in QUOTED.finditer(text) if (inner := match[0].strip(MARKS).strip())]


def media(text: str) -> list[str]:
    """The media that are named, in their order."""
    return [key for slot, key in looks(split(text)) if slot == "medium" and key != "none"]


def kind(medium: str) -> str:
    return "camera" if medium in CAMERA else "computer" if medium in COMPUTER else "hand"


def contents(text: str) -> list[str]:
    """The words that say something, of languages that put spaces between words."""
    return [
        word
        for word in split(text)
        if len(word) > 2 and word not in FILLERS and word.isalpha() and not UNSPACED.search(word)
    ]


def stem(word: str) -> str:
    """A word without what declines it, as far as that can be said of any language."""
    return word[: max(3, len(word) - 2)]


def styles() -> Iterable[tuple[str, str]]:
    """Words for looks, each with the look that it means."""
    for table in (SLOTS["medium"], SIGNS["medium"], SLOTS["palette"], SLOTS["texture"]):
        yield from inverted(table)
    words = ("style", "styled", "stylised", "stylized", "aesthetic", "palette", "brushwork", "colour scheme")
    yield from ((word, word) for word in (*words, "color scheme", "in the manner of"))


STYLES = Phrasebook(styles())
