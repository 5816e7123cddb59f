"""Krea's weights at their true size through the whole stack, on a processor; prints seconds and memory.

    python bench/true_size.py FOLDER

Writes 16.5 GB of weights by chance to FOLDER, unless they are there: a transformer of 12.9 billion numbers in
a GGUF file (`Q4_0`), text encoder and autoencoder in half precision. Starts easel with them and asks it over
HTTP for a 1K picture of four steps with a style reference, which takes 18 GB and a quarter of an hour.
"""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import torch
from diffusers import AutoencoderKLQwenImage
from gguf import GGMLQuantizationType
from transformers import Qwen3VLConfig, Qwen3VLModel

from easel import Client
from easel.cli.output import show
from easel.model.prompts import TAPS

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import tiny_krea
from server import serving

PROMPT = "a red fox asleep under a bent apple tree"
REFERENCE = Path(__file__).parents[1] / "docs" / "reference.png"
SPREAD = 0.02  # of the weights
AT_ONCE = 2**20  # blocks of weights that are drawn in one go


def main() -> None:
    folder = Path(sys.argv[1])
    if not (folder / "turbo.gguf").exists():
        write_parts(folder)
        write_transformer(folder / "unfinished.gguf")
        (folder / "unfinished.gguf").rename(folder / "turbo.gguf")
    with easel(folder) as (url, token, rows), Client(token, base_url=url) as krea:
        began = time.monotonic()
        picture = krea.generate(
            PROMPT, references=[(REFERENCE, 0.8)], model="medium-turbo", creativity="raw", seed=1
        )
        rows.append(("a picture with a style reference", f"{time.monotonic() - began:.0f} s"))
        picture.save(folder / "picture.png")
        details = krea.jobs.details(picture.job.job_id).details
        rows += [(part, str(said)) for part, said in details.items()]


def write_transformer(file: Path) -> None:
    """Matrices of whole blocks in Q4_0, all else in float32, by the names of Krea's own repository."""

    def kind_of(name: str, shape: list[int]) -> GGMLQuantizationType:
        whole = len(shape) > 1 and shape[-1] % 32 == 0 and "table" not in name
        return GGMLQuantizationType.Q4_0 if whole else GGMLQuantizationType.F32

    kinds = tiny_krea.save_true_header(file, kind_of)
    rng = np.random.default_rng(0)
    with file.open("ab") as out:
        pad(out)
        for name, (kind, count) in kinds.items():
            if kind is GGMLQuantizationType.F32:
                around = 1.0 if "norm" in name else 0.0
                out.write(rng.normal(around, SPREAD, count).astype(np.float32).tobytes())
            else:
                for blocks in pieces(count // 32):
                    out.write(quantised(rng, blocks).tobytes())
            pad(out)


def pieces(count: int) -> Iterator[int]:
    """The count in pieces of AT_ONCE at most."""
    for start in range(0, count, AT_ONCE):
        yield min(AT_ONCE, count - start)


def quantised(rng: np.random.Generator, blocks: int) -> np.ndarray:
    """So many blocks of Q4_0: a scale in half precision and 32 numbers of four bits."""
    found = rng.integers(0, 256, (blocks, 18), np.uint8)
    found[:, :2] = np.full(1, SPREAD / 16**0.5 / 1.15, np.float16).view(np.uint8)
    return found


def pad(out: object) -> None:
    """To where the next tensor may begin."""
    out.write(bytes(-out.tell() % 32))


def write_parts(folder: Path) -> None:
    """The text encoder, its tokenizer and the autoencoder, laid out as on the hub."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    known = tiny_krea.tokenizer()
    known.save_pretrained(folder / "tokenizer")
    tokens = tiny_krea.marks(known)
    Qwen3VLModel(Qwen3VLConfig(**tiny_krea.TRUE_TEXT, **tokens)).save_pretrained(folder / "text_encoder")
    AutoencoderKLQwenImage().save_pretrained(folder / "vae")
    index = {"is_distilled": True, "text_encoder_select_layers": TAPS}
    (folder / "model_index.json").write_text(json.dumps(index))
    torch.set_default_dtype(torch.float32)


@contextmanager
def easel(folder: Path) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """The whole system with these weights: its address, a token, and the rows that are printed of it in the
    end."""
    settings = {
        "EASEL_MODELS": "krea",
        "EASEL_SAFETY": "on",
        "EASEL_KREA_TURBO": str(folder / "turbo.gguf"),
        "EASEL_KREA_RAW": "",
        "EASEL_KREA_PARTS": str(folder),
        "EASEL_JOB_TIMEOUT": "7200",
    }
    rows: list[tuple[str, str]] = []
    most, over = [0.0], threading.Event()
    with tempfile.TemporaryDirectory() as data, serving(Path(data), **settings) as (url, token, _, server):
        watch = threading.Thread(target=watched, args=(server.pid, most, over))
        watch.start()
        try:
            yield url, token, rows
        finally:
            over.set()
            watch.join()
    show(["of weights by chance", ""], [*rows, ("memory at most", f"{most[0]:.1f} GB")])


def watched(server: int, most: list[float], over: threading.Event) -> None:
    """Keep the most GB of memory that the server's processes hold, until it is over."""
    while not over.wait(0.5):
        held = 0
        for process in psutil.Process(server).children(recursive=True):
            with suppress(psutil.Error):
                held += process.memory_info().rss
        most[0] = max(most[0], held / 1e9)


if __name__ == "__main__":
    main()
