"""Distils the nano transformer into one of half its size that needs few steps. Resumes.

python -m easel.train.distil DATA TEACHER OUT --minutes 30

The teacher paints crops in many steps; the student learns to foretell each result from every point of the
straight line between it and the noise it came from, so that its own path is straight (Liu et al. 2022,
"Flow Straight and Fast", arXiv 2209.03003). It starts with three of the teacher's blocks (Sanh et al. 2019,
"DistilBERT", arXiv 1910.01108).
"""

import argparse
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import Krea2Transformer2DModel
from torch import Tensor

from easel.engine.sampler import sample
from easel.model import flow
from easel.model.text import TextEncoder
from easel.train.data import minilm_argument
from easel.train.loop import device
from easel.train.nano import CROP, Batch, Pictures, build, context, fit, foretold, make_batch

STEPS = 8  # of the teacher
USES = 10  # of what the teacher painted
BLOCKS = (0, 4, 7)  # of the teacher's eight that the student starts with
TEXT = 384  # units of the student's layers on text


def shortened(teacher: Krea2Transformer2DModel) -> Krea2Transformer2DModel:
    """The teacher with BLOCKS only, and of the units of its layers on text the TEXT that weigh most."""
    student = build(teacher.in_channels // 2, {"num_layers": len(BLOCKS), "text_intermediate_size": TEXT})
    student.load_state_dict(
        {k: v for k, v in teacher.state_dict().items() if not k.startswith(("transformer_blocks", "text"))},
        strict=False,
    )
    for block, number in zip(student.transformer_blocks, BLOCKS, strict=True):
        block.load_state_dict(teacher.transformer_blocks[number].state_dict())
    wide = teacher.text_fusion.state_dict()
    for name in [n.removesuffix("gate.weight") for n in wide if n.endswith("ff.gate.weight")]:
        gate, up, down = (wide[f"{name}{part}.weight"] for part in ("gate", "up", "down"))
        kept = (gate.norm(dim=1) * up.norm(dim=1) * down.norm(dim=0)).topk(TEXT).indices
        for part, weight in (("gate", gate[kept]), ("up", up[kept]), ("down", down[:, kept])):
            wide[f"{name}{part}.weight"] = weight
    student.text_fusion.load_state_dict(wide)
    return student


@torch.no_grad()
def painted(teacher: Krea2Transformer2DModel, text: TextEncoder, batch: Batch, noise: Tensor) -> Tensor:
    """What the teacher makes of `noise` for the batch, (B, N, C)."""
    times = flow.timesteps(STEPS, flow.shift_of(CROP * CROP)).to(noise.device)
    with torch.autocast(noise.device.type, torch.bfloat16):
        fused, mask, references = context(teacher, text, batch)
        return sample(
            teacher,
            noise,
            times,
            fused,
            batch.positions,
            sketch=batch.sketch,
            references=references,
            text_mask=mask,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("teacher", type=Path, help="the folder of a transformer")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=30, help="of this run")
    parser.add_argument("--groups", type=int, default=8, help="styles in a batch")
    minilm_argument(parser)
    args = parser.parse_args()
    pictures, text = Pictures(args.data), TextEncoder(args.minilm)
    text.model.to(device())
    teacher = Krea2Transformer2DModel.from_pretrained(args.teacher).to(device()).eval()
    student = shortened(teacher).to(device())
    held: list[tuple[Batch, Tensor]] = []  # a batch with what the teacher painted as its target, its noise

    def losses(rng: random.Random) -> dict[str, Tensor]:
        if not held:
            batch = make_batch(pictures, args.groups, rng).to(device())
            noise = torch.randn_like(batch.target)
            target = painted(teacher, text, batch, noise)
            held.extend([(batch._replace(target=target), noise)] * USES)
        batch, noise = held.pop()
        t = torch.rand(len(noise), device=noise.device)
        return {"error": F.mse_loss(foretold(student, text, batch, noise, t), batch.target)}

    fit(student, losses, args.out, args.minutes)


if __name__ == "__main__":
    main()
