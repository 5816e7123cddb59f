"""A LoRA learnt on Krea-2-Raw, to be used on Turbo: low-rank matrices beside those of every block learn the
flow's velocity on the way between the pictures and noise.

Latents and text features are made once, before the first step. What a step draws hangs on its number alone,
so a training that was broken off comes to the weights that it would have come to.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import Krea2Transformer2DModel
from PIL import Image
from torch import Tensor, nn

from easel.engine.krea import PATCH, TOKEN, at_most
from easel.errors import EngineError
from easel.model import flow, latents, lora, lora_files
from easel.model.gguf_bits import KINDS
from easel.model.open_weights import Plan
from easel.model.part import KEPT_BY, Part
from easel.model.pixels import Pixels
from easel.model.prompts import MOST_TOKENS, SUFFIX_TOKENS, PromptEncoder
from easel.model.training_memory import in_training, taken
from easel.model.transformer import fuse_text, grid, predict
from easel.schema.painting import Lesson, Notebook, Trained
from easel.schema.styles import Recipe
from easel.style.learning import Learner, layers, learn

RANK = 32
SIDE = 1024  # pixels a side of a square as large as a picture is learnt from
TOKENS = (SIDE // TOKEN) ** 2 + MOST_TOKENS + SUFFIX_TOKENS  # of such a picture and the longest caption
JUDGED = 8  # times at which the first and the last loss are measured
WHOLE, EIGHT = 8.0, 2 + 8 / 256  # bytes of AdamW's moments of a number: float32; eight bits, a scale for 256
KEPT_EVERY = 300.0  # seconds between two states that are kept: each may be more than a gigabyte

Describe = Callable[[Image.Image], str]


def unsaid(picture: Image.Image) -> str:
    """What a picture shows of which nobody has said anything: nothing is known."""
    return ""


@dataclass(frozen=True)
class School:
    """What a style is learnt with; nobody else uses these networks meanwhile, but for their weights."""

    transformer: Krea2Transformer2DModel  # Raw's
    text: PromptEncoder
    pixels: Pixels
    checkpoint: str
    describe: Describe = unsaid


class Example(NamedTuple):
    """A picture to learn from."""

    clean: Tensor  # (1, N, C), its latents' tokens
    text: Tensor  # (1, T, D), its caption's features
    rows: int  # of tokens
    captioned: str  # how it came to its caption


def train(school: School, lessons: Iterable[Lesson], recipe: Recipe, notebook: Notebook) -> Trained:
    """Learn a style from pictures, going on from the notebook's state."""
    examples = read(school, lessons, recipe)
    learner = KreaLearner(school.transformer, examples, recipe)
    first = learner.judged()
    learn(learner, notebook, KEPT_EVERY)
    metadata = {
        "architecture": "Krea2Transformer2DModel",
        "base": school.checkpoint,
        "model": recipe.model,
        "title": recipe.name,
        "trigger_word": recipe.trigger_word,
    }
    told = {
        "weights": "raw",
        "steps": learner.steps,
        "rank": RANK,
        "optimiser": learner.named,
        "captions": Counter(example.captioned for example in examples),
        "losses": {"first": first, "last": learner.judged()},
    }
    return Trained(lora_files.written({"transformer": learner.changes()}, {}, metadata), told)


@torch.no_grad()
def read(school: School, lessons: Iterable[Lesson], recipe: Recipe) -> list[Example]:
    """The pictures as latents, and what is said of them as features."""
    examples = []
    for lesson in lessons:
        picture = at_most(lesson.image, SIDE)
        z = school.pixels.encode(latents.to_tensor(picture))
        caption = lesson.caption or school.describe(lesson.image)
        captioned = "given" if lesson.caption else "written" if caption else "none"
        tapped = school.text.tapped(", ".join(filter(None, (caption, recipe.trigger_word))))
        text = fuse_text(school.transformer, tapped.to(school.transformer.img_in.weight))
        clean = latents.pack(z, PATCH).cpu()
        examples.append(Example(clean, text.cpu(), picture.height // TOKEN, captioned))
    return examples


class KreaLearner(Learner):
    """Learns matrices beside those of the transformer's blocks, which stay as they are."""

    def __init__(
        self, transformer: Krea2Transformer2DModel, examples: Sequence[Example], recipe: Recipe
    ) -> None:
        self._transformer, self._examples = transformer, examples
        transformer.enable_gradient_checkpointing()
        self._beside = lora.beside(transformer, layers(transformer, nn.Linear, "transformer_blocks"), RANK)
        optimiser, self.named = optimiser_of(list(self._beside.values()))
        super().__init__(optimiser, recipe)

    def step(self) -> None:
        """Learn from some pictures, one after the other: they need not be of one size."""
        rng, size = torch.Generator().manual_seed(self.steps), self.recipe.batch_size
        for place in range(self.steps * size, (self.steps + 1) * size):
            loss = self._loss(self._example(place), rng)
            if not loss.isfinite():
                raise EngineError(
                    f"The training came apart at step {self.steps + 1}: ask for a learning_rate below "
                    f"{self.recipe.learning_rate}"
                )
            (loss / size).backward()
        self.advance()

    def _example(self, place: int) -> Example:
        """Each picture once before any comes again, in an order that is another each time."""
        time, number = divmod(place, len(self._examples))
        order = torch.randperm(len(self._examples), generator=torch.Generator().manual_seed(time))
        return self._examples[int(order[number])]

    def _loss(self, example: Example, rng: torch.Generator) -> Tensor:
        """How far the velocity is from the one wanted, at a time and with noise that are drawn."""
        weight = self._transformer.img_in.weight
        _, count, _ = example.clean.shape
        t = flow.drawn(1, flow.shift_of(count), rng).to(weight.device)
        noise = torch.randn(example.clean.shape, generator=rng).to(weight.device)
        clean, text = example.clean.to(weight.device), example.text.to(weight)
        places = grid(example.rows, count // example.rows).to(weight.device)
        rotary = self._transformer.rotary_emb(places)
        x = flow.noised(clean, noise, t).to(weight.dtype)
        return F.mse_loss(predict(self._transformer, x, t, text, rotary).float(), noise - clean)

    @torch.no_grad()
    def judged(self) -> float:
        """The mean loss at times and with noise that are always the same."""
        rng = torch.Generator().manual_seed(0)
        losses = [self._loss(self._example(place), rng) for place in range(JUDGED)]
        return round(torch.stack(losses).mean().item(), 5)

    def changes(self) -> dict[str, lora.Change]:
        """What was learnt, by layer, in the precision of the transformer."""
        weight = self._transformer.img_in.weight
        found = lora.changes_of(self._beside)
        return {name: change.to(torch.device("cpu"), weight.dtype) for name, change in found.items()}


def memory_of(part: Part, device: torch.device) -> float:
    """Bytes of a device's memory that a training takes beside Raw itself."""
    return taken(part, TOKENS, RANK, EIGHT if has_eight_bits(device) else WHOLE)


def trainings(plan: Plan) -> list[tuple[str, ...]]:
    """Of each precision, beginning with a GGUF file's own, the GB of the device's memory that a training
    takes with AdamW in float32: with all of Raw there, and with every block streamed; the autoencoder
    included."""
    raw = plan.transformers["raw"]
    ways = {raw.precision: raw} if raw.precision in KINDS else {}
    rows = []
    for precision, part in (ways | {one: raw.in_precision(one) for one in KEPT_BY}).items():
        beside = taken(part, TOKENS, RANK, WHOLE) + plan.vae.bytes
        needs = (in_training(part, streamed) + beside for streamed in (0, len(part.block_bytes)))
        rows.append((precision, *(f"{need / 1e9:.1f}" for need in needs)))
    return rows


def has_eight_bits(device: torch.device) -> bool:
    """Whether there is an optimiser for the device that keeps its moments in eight bits."""
    return device.type == "cuda" and find_spec("bitsandbytes") is not None


def optimiser_of(parameters: Sequence[nn.Parameter]) -> tuple[Any, str]:
    """AdamW, and what it is called: with its moments in eight bits where that can be had."""
    if has_eight_bits(parameters[0].device):
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(parameters, weight_decay=0.0), "AdamW in eight bits"
    return torch.optim.AdamW(parameters, weight_decay=0.0), "AdamW"
