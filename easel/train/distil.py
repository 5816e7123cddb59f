"""Distils the nano transformer into one of half its size that needs few steps. Resumes.

python -m easel.train.distil DATA TEACHER OUT --minutes 30

The teacher paints crops in many steps; the student learns to foretell each result from every point of the
straight line between it and the noise it came from, so that its own path is straight (Liu et al. 2022,
"Flow Straight and Fast", arXiv 2209.03003).
"""

import argparse
import random
from pathlib import Path

import torch
from diffusers import Krea2Transformer2DModel
from torch import Tensor

from easel.engine.sampler import sample
from easel.model import flow
from easel.model import transformer as forward
from easel.model.text import TextEncoder
from easel.train.data import minilm_argument
from easel.train.loop import Optimisers, device, train
from easel.train.nano import CROP, SMALL, Batch, Pictures, build, context, foretold, make_batch, matrices

STEPS = 12  # of the teacher
USES = 6  # of what the teacher painted


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
    student = build(teacher.in_channels // 2, SMALL).to(device())
    forward.run_block = torch.compile(forward.run_block, dynamic=False)
    held: list[tuple[Batch, Tensor]] = []  # a batch with what the teacher painted as its target, its noise

    def losses(rng: random.Random) -> dict[str, Tensor]:
        if not held:
            batch = make_batch(pictures, args.groups, rng).to(device())
            noise = torch.randn_like(batch.target)
            target = painted(teacher, text, batch, noise)
            held.extend([(batch._replace(target=target), noise)] * USES)
        batch, noise = held.pop()
        t = torch.rand(len(noise), device=noise.device)
        said = foretold(student, text, batch, noise, t)
        return {"error": (said - batch.target).square().mean()}

    optimisers = Optimisers(student, matrices(student), (3e-3, 1.5e-3))
    average = train(student, optimisers, losses, args.out / "state.pt", args.minutes)
    student.load_state_dict(average)
    student.save_pretrained(args.out / "transformer")


if __name__ == "__main__":
    main()
