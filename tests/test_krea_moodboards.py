"""python -m pytest tests/test_krea_moodboards.py — a moodboard in the words of Krea's text encoder."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from PIL import Image

from easel.errors import Cancelled
from easel.model import krea2, open_weights
from easel.model.reader import LookReader
from easel.model.sequence import Together, seen
from easel.model.speaker import Speaker
from easel.model.weights import SHIPPED
from easel.schema.painting import Alike, Taste
from easel.settings import KreaSources
from easel.style.expanders import Mute
from easel.style.krea import KreaPainter
from easel.style.krea_taste import TOLD, contents, in_words, keeping
from easel.style.taste import taste

COLOURS = ("red", "navy", "black", "white", "teal", "pink", "olive", "gold", "gray", "plum", "cyan", "tan")
PROFILE = "Flat shapes in two inks on rough paper, with wide margins and a quiet mood."
KEYWORDS = "linocut, two inks, rough paper, wide margins, quiet mood, flat shapes"
BOARD = f"PROFILE: {PROFILE}\nKEYWORDS: {KEYWORDS}\nAVOIDS: photograph, neon, gloss"


@pytest.fixture(scope="module")
def reader() -> LookReader:
    return krea2.filled(LookReader, SHIPPED / "reader")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [Image.new("RGB", (600, 400), colour) for colour in COLOURS]


@pytest.fixture(scope="module")
def plain(pictures, reader) -> Taste:
    return taste(pictures, reader)


class Scripted:
    """Says the captions and then the board, and keeps what it was asked."""

    name = "a script"

    def __init__(self, says: str = BOARD, caption: str = "A flat print in two colours.") -> None:
        self.says, self.caption = says, caption
        self.shown: list[Image.Image] = []
        self.asked: list[str] = []

    def ask(self, instruction, question, pictures=(), **given):
        assert given["temperature"] == 0
        self.asked.append(question)
        self.shown += pictures
        return self.caption if pictures else self.says


def words_of(found: Taste) -> tuple:
    return found.profile, list(found.keywords), list(found.avoids)


def test_the_model_sees_the_middle_of_the_largest_groups_and_words_the_board(pictures, plain):
    model = Scripted()
    found = in_words(plain, pictures, model)
    assert (found.clusters, found.palette) == (plain.clusters, plain.palette)
    assert words_of(found) == (PROFILE, KEYWORDS.split(", "), ["photograph", "neon", "gloss"])
    assert found.words_by == "a script"
    largest = sorted(plain.clusters, key=lambda cluster: -cluster.weight)[:8]
    assert model.shown == [pictures[cluster.medoid] for cluster in largest]
    assert model.asked[:-1] == [TOLD["question"]] * len(largest)
    assert model.asked[-1].splitlines() == [
        f"{cluster.weight:.0%} of the pictures: A flat print in two colours." for cluster in largest
    ]


def test_of_many_groups_eight_are_shown(pictures, plain):
    model = Scripted()
    many = replace(plain, clusters=[Alike(place, 0.1 * place, 0) for place in range(12)])
    in_words(many, pictures, model)
    assert model.shown == pictures[:3:-1]


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("", "three lines"),
        ("\x0e� relations�", "three lines"),
        (BOARD.replace("AVOIDS", "AVOID"), "three lines"),
        (BOARD + "\nI hope this helps!", "three lines"),
        (BOARD.replace(PROFILE, "Here is a profile of the board."), "nothing to go by for the profile"),
        (BOARD.replace(PROFILE, "I cannot tell what this is."), "nothing to go by for the profile"),
        (BOARD.replace(PROFILE, "Flat"), "nothing to go by for the profile"),
        (BOARD.replace(PROFILE, "Flat shapes \x07 in two inks"), "nothing to go by for the profile"),
        (BOARD.replace(PROFILE, "flat " * 400), "nothing to go by for the profile"),
        (BOARD.replace(KEYWORDS, "linocut, two inks"), "2 keywords, not 6 to 8"),
        (BOARD.replace(KEYWORDS, "linocut, " * 7 + "ink"), "2 keywords, not 6 to 8"),
        (BOARD.replace("linocut", "**linocut**"), "'**linocut**', which is no keyword"),
        (BOARD.replace("linocut", "linocut " * 9), "which is no keyword"),
        (BOARD.replace("neon", ""), "'', which is no keyword"),
    ],
)
def test_what_cannot_be_read_leaves_the_words_of_the_small_reader(pictures, plain, says, why):
    found = in_words(plain, pictures, Scripted(says))
    assert words_of(found) == words_of(plain)
    assert found.words_by.startswith("the small reader: ")
    assert why in found.words_by


def test_more_than_eight_keywords_are_cut_and_what_is_both_is_kept(pictures, plain):
    says = BOARD.replace(KEYWORDS, f"{KEYWORDS}, Seven, eight., nine").replace("neon", "linocut")
    found = in_words(plain, pictures, Scripted(says))
    assert list(found.keywords) == [*KEYWORDS.split(", "), "seven", "eight"]
    assert list(found.avoids) == ["photograph", "gloss"]


def test_a_job_that_is_cancelled_hears_no_further_captions(tiny_turbo, pictures, plain):
    text = open_weights.load_text(open_weights.text_encoder_at(tiny_turbo), tiny_turbo, torch.device("cpu"))
    speaker = Speaker(text)
    speaker._end = -1  # it never ends

    def stop() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        in_words(plain, pictures, speaker, stop)


def test_a_caption_that_is_none_leaves_the_words_of_the_small_reader(pictures, plain):
    for caption in ("", "I'm sorry, I can't describe this picture.", "<think>hm, a picture of something"):
        found = in_words(plain, pictures, Scripted(caption=caption))
        assert found.words_by == "the small reader: the model gave nothing to go by for a caption"


def test_without_a_model_it_is_said_why(pictures, plain):
    found = in_words(plain, pictures, Mute("the GPU has no room"))
    assert found.words_by == "the small reader: the GPU has no room"


def test_pictures_are_kept_small_and_what_they_raise_ends_the_reading(reader):
    def torn():
        yield large
        raise Cancelled("torn")

    large, kept = Image.new("RGB", (3000, 1000), "red"), []
    handed = keeping(torn(), kept)
    assert next(handed) is large
    assert [one.size for one in kept] == [(512, 171)]
    with pytest.raises(Cancelled, match="torn"):
        next(handed)


def test_weights_by_chance_read_a_board_as_the_small_reader_does(tiny_turbo, pictures, plain):
    found = KreaPainter.load(KreaSources(str(tiny_turbo), None, str(tiny_turbo))).analyse(iter(pictures))
    assert words_of(found) == words_of(plain)
    assert (found.clusters, found.palette) == (plain.clusters, plain.palette)
    assert found.words_by.startswith("the small reader: the model")


def test_a_picture_without_a_caption_is_captioned_for_a_training_or_not_at_all():
    model = Scripted(caption="A fox sits  on a\nhill.")
    assert contents(Image.new("RGB", (1024, 512)), model) == "A fox sits on a hill."
    assert [picture.size for picture in model.shown] == [(512, 256)]
    assert contents(Image.new("RGB", (64, 64)), Scripted(caption="I cannot help with that.")) == ""
    assert contents(Image.new("RGB", (64, 64)), Mute("no head")) == ""


def test_the_text_encoder_may_be_asked_from_two_threads_at_once(tiny_turbo):
    plan = open_weights.planned({"turbo": tiny_turbo}, tiny_turbo)
    encoder = open_weights.load_text(plan.text, plan.parts, torch.device("cpu"))
    speaker = Speaker(encoder)

    def first_words(colour: str) -> list[int]:
        picture = [encoder.tokens("<|vision_start|>"), Together([seen(Image.new("RGB", (64, 64), colour))])]
        return list(speaker._following([*picture, encoder.tokens(colour)], 24, 0, 0))

    colours = ["red", "green", "blue", "white"] * 4
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(first_words, colours)) == [first_words(colour) for colour in colours]
