"""python -m pytest tests/test_krea_following.py — the tokens of an answer, one after the other.

That they are those of transformers is tested in tests/test_krea_expand.py.
"""

from functools import partial
from pathlib import Path

import pytest
import torch
from counting import operations
from transformers import DynamicCache

from easel.model import open_weights
from easel.model.following import Following
from easel.model.prompts import PromptEncoder
from easel.model.sequence import inputs

HEARD = "a fox in the snow"


@pytest.fixture(scope="module")
def text(tiny_turbo: Path) -> PromptEncoder:
    return open_weights.load_text(open_weights.text_encoder_at(tiny_turbo), tiny_turbo, torch.device("cpu"))


def heard(text: PromptEncoder) -> DynamicCache:
    cache = DynamicCache()
    text.model(**inputs(text.model, [text.tokens(HEARD)]), past_key_values=cache, use_cache=True)
    return cache


def following(text: PromptEncoder) -> Following:
    cache = heard(text)
    return Following(text.model, cache, cache.get_seq_length(), 10)


@torch.inference_mode()
def test_a_token_takes_half_the_operations_that_the_network_takes(text):
    cache = heard(text)
    place = torch.full((3, 1, 1), cache.get_seq_length())
    theirs = partial(text.model, input_ids=torch.tensor([[7]]), position_ids=place, past_key_values=cache)
    counts = [operations(run) for run in (partial(following(text), 7), partial(theirs, use_cache=True))]
    assert 0 < counts[0] < 0.55 * counts[1]


@torch.inference_mode()
def test_a_graph_of_a_token_is_replayed_if_it_gives_what_its_operations_give(text, monkeypatch):
    replays = []

    def graph(run, device, turned=1.0):
        return lambda: replays.append(1) or turned * run()

    def refused(run, device):
        raise torch.AcceleratorError("operation not permitted when stream is capturing")

    said = [3, 1, 4, 1, 5]
    plain = following(text)
    wanted = [plain(token) for token in said]
    for capture, times in ((graph, 5), (partial(graph, turned=1.1), 1), (refused, 0)):
        monkeypatch.setattr("easel.model.following.captured", capture)
        one = following(text)
        one._graphs = True  # as on a GPU
        replays.clear()
        assert all(torch.equal(one(token), state) for token, state in zip(said, wanted, strict=True))
        assert len(replays) == times
