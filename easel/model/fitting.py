"""How Krea's open weights go into the memory that there is: their precision, and what stays outside the GPU.

All figures are computed from what the files say of themselves; what a picture takes beside was counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from easel.errors import CheckpointError
from easel.model.four_bits import four_bits
from easel.model.gguf_bits import KINDS
from easel.model.open_weights import Plan
from easel.model.part import KEPT_BY, Part, Precision
from easel.model.streaming import is_streamed

Wanted = Literal["auto", "bf16", "fp8", "nf4"]


@dataclass(frozen=True)
class Fit:
    """One way for a plan to be loaded."""

    plan: Plan  # its transformers in the precision that they are kept in
    text_beside: bool = True  # whether the text encoder is on the device too
    streamed: int = 0  # blocks of a transformer that lie in the machine's own memory

    @property
    def need(self) -> float:
        """Bytes of the device's memory that painting takes, with one transformer at a time."""
        largest = max(on_device(part, self.streamed) for part in self.plan.transformers.values())
        return largest + self.plan.vae.bytes + self.plan.working + self.text_beside * self.plan.text.bytes

    @property
    def outside(self) -> float:
        """Bytes of the machine's own memory that it takes beside."""
        text = 0 if self.text_beside else self.plan.text.bytes
        return text + max(sum(away(part, self.streamed)) for part in self.plan.transformers.values())

    @property
    def told(self) -> dict[str, object]:
        """What a picture's details and the log say of it."""
        part = next(iter(self.plan.transformers.values()))
        return {
            "precision": part.precision,
            "text_encoder": "beside the transformer" if self.text_beside else "on the processor",
            "streamed_blocks": f"{self.streamed} of {len(part.network.transformer_blocks)}",
            "memory_gb": round(self.need / 1e9, 1),
        }


def away(part: Part, streamed: int) -> list[int]:
    """Bytes of each block that lies in the machine's own memory."""
    sizes = part.block_bytes
    return [size for i, size in enumerate(sizes) if is_streamed(i, streamed, len(sizes))]


def on_device(part: Part, streamed: int) -> float:
    """Bytes of the device's memory that a transformer takes."""
    sizes = away(part, streamed)
    return part.bytes - sum(sizes) + 2 * max(sizes, default=0)


def left_behind(part: Part, streamed: int) -> set[str]:
    """The weights that stay in the machine's own memory."""
    blocks = len(part.network.transformer_blocks)
    behind = tuple(f"transformer_blocks.{i}." for i in range(blocks) if is_streamed(i, streamed, blocks))
    return {name for name in part.weights if name.startswith(behind)}


def precisions(plan: Plan) -> list[tuple[str, ...]]:
    """Of each precision, beginning with a GGUF file's own, the GB of the device's memory that three ways
    take: with all of it there, with the text encoder on the processor, and with every block streamed too."""
    own = {part.precision: plan for part in plan.transformers.values() if part.precision in KINDS}
    rows = []
    for precision, one in (*own.items(), *((other, kept(plan, other)) for other in KEPT_BY)):
        blocks = max(len(part.network.transformer_blocks) for part in plan.transformers.values())
        ways = (Fit(one), Fit(one, text_beside=False), Fit(one, text_beside=False, streamed=blocks))
        rows.append((precision, *(f"{way.need / 1e9:.1f}" for way in ways)))
    return rows


def kept(plan: Plan, precision: Precision) -> Plan:
    """The plan with its transformers in this precision."""
    found = {weights: part.in_precision(precision) for weights, part in plan.transformers.items()}
    return replace(plan, transformers=found)


def lighter(plan: Plan) -> Plan:
    """The plan with its transformers in eight bits, but for GGUF files, which stay as they are."""
    found = {
        weights: part if part.precision in KINDS else part.in_precision("fp8")
        for weights, part in plan.transformers.items()
    }
    return replace(plan, transformers=found)


def fitted(plan: Plan, wanted: Wanted, free: float, outside: float | None) -> Fit:
    """The first way that fits into `free` bytes of the device's memory, and `outside` bytes of the machine's
    own (None where the device is the processor).

    Raises CheckpointError where none does, saying what the least of them takes.
    """
    if wanted == "nf4":
        four_bits()  # or say what is missing
    ways = list(ways_of(plan, wanted, beside=outside is not None))
    for way in ways:
        if way.need <= free and way.outside <= (outside or 0):
            return way
    raise CheckpointError(too_little(ways, wanted, free, outside))


def ways_of(plan: Plan, wanted: Wanted, beside: bool) -> Iterator[Fit]:
    """The ways to load it, the fastest first; without a GPU all lies in one memory."""
    plans = [plan, lighter(plan)] if wanted == "auto" else [kept(plan, wanted)]
    for one in plans:
        yield Fit(one)
        if beside:
            yield Fit(one, text_beside=False)
    if beside:
        blocks = max(len(part.network.transformer_blocks) for part in plan.transformers.values())
        yield from (Fit(plans[-1], False, streamed) for streamed in range(3, blocks + 1))


def too_little(ways: Sequence[Fit], wanted: Wanted, free: float, outside: float | None) -> str:
    """What is missing, and the remedy."""
    here = [way.outside for way in ways if way.need <= free]
    if here and outside is not None:
        return (
            f"Krea 2 takes {min(here) / 1e9:.1f} GB of the machine's own memory beside the GPU, and "
            f"{outside / 1e9:.1f} GB are free: add memory, or take a larger GPU"
        )
    least = min(way.need for way in ways)
    smaller = "" if wanted in ("auto", "nf4") else ", or set EASEL_PRECISION=auto"
    smaller += ", or do without EASEL_KREA_STYLE_LORA" if ways[0].plan.in_context else ""
    return (
        f"Krea 2 takes {least / 1e9:.1f} GB of memory here, and {free / 1e9:.1f} GB are free: "
        f"{'add memory, or paint on a GPU' if outside is None else 'take a larger GPU'}{smaller}"
    )
