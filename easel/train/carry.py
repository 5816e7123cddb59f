"""Packs MiniLM small enough to travel to a machine without a network: int8 rows, and of the embeddings only
those of words that captions use, so that the rest compresses to nothing.

python -m easel.train.carry OUT
"""

import shutil
import sys
from pathlib import Path

import torch

from easel.model.text import TextEncoder, minilm_folder
from easel.model.weights import save_int8
from easel.style.scene import Library
from easel.style.vocabulary import PALETTES, TECHNIQUES
from easel.train import data, nano
from easel.train.library import LIBRARY


def captions() -> list[str]:
    """Texts that hold every word that training may say."""
    names = Library(LIBRARY).names.values()
    looks = [phrase for table in (TECHNIQUES, PALETTES) for phrases in table.values() for phrase in phrases]
    scenes = [*data.COLOURS, *data.WHERE.values(), "a pattern of two, three and with"]
    return [*names, *(f"{name}s" for name in names), *scenes, *looks, *nano.HANDS.values()]


def main(out: Path) -> None:
    text, source = TextEncoder(), minilm_folder()
    used = {token for caption in captions() for token in text.tokenizer(caption)["input_ids"]}
    state = text.model.state_dict()
    embeddings = "embeddings.word_embeddings.weight"
    kept = torch.zeros(len(state[embeddings]), 1)
    kept[sorted(used | set(text.tokenizer.all_special_ids))] = 1
    out.mkdir(parents=True, exist_ok=True)
    save_int8(state | {embeddings: state[embeddings] * kept}, out / "weights.safetensors")
    for name in (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
        "special_tokens_map.json",
    ):
        if (source / name).exists():
            shutil.copy(source / name, out / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
