"""Packs trained networks into the checkpoint folder that ships, as int8 rows and half precision, with
embeddings of the drawings' names.

python -m easel.train.pack easel/checkpoints/nano raw=FOLDER turbo=FOLDER vae=FOLDER … --name nano-3
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import Krea2Transformer2DModel
from safetensors.torch import save_file

from easel.model.reader import LookReader
from easel.model.text import TextEncoder
from easel.model.vae import AutoencoderNano
from easel.model.weights import save_int8
from easel.style.scene import Library

PARTS: dict[str, Any] = {
    "raw": Krea2Transformer2DModel,
    "turbo": Krea2Transformer2DModel,
    "vae": AutoencoderNano,
    "reader": LookReader,
}


def pack(name: str, source: Path, out: Path) -> None:
    """Write the network of PARTS in `source` to the folder `name` of `out`."""
    network, folder = PARTS[name].from_pretrained(source), out / name
    folder.mkdir(parents=True, exist_ok=True)
    config = {k: v for k, v in network.config.items() if not k.startswith("_")}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_int8(network.state_dict(), folder / "weights.safetensors")


def embed_drawings(library: Library, path: Path) -> None:
    """Write each drawing's key and the unit vector of its name, (drawings, 384) as int8."""
    text, keys = TextEncoder(), list(library.names)
    parts = [text.embed([library.names[key] for key in keys[i : i + 256]]) for i in range(0, len(keys), 256)]
    vectors = torch.cat(parts)
    vectors = (vectors / vectors.abs().amax(1, keepdim=True) * 127).round().to(torch.int8)
    save_file(
        {"vectors": vectors, "keys": torch.tensor(list("\n".join(keys).encode()), dtype=torch.uint8)}, path
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("parts", nargs="+", help=f"NAME=FOLDER, NAME one of {', '.join(PARTS)}")
    parser.add_argument("--name", help="of the whole checkpoint, whose drawings are embedded then")
    args = parser.parse_args()
    for part in args.parts:
        name, _, source = part.partition("=")
        pack(name, Path(source), args.out)
    if args.name:
        (args.out / "checkpoint.json").write_text(json.dumps({"name": args.name}) + "\n")
        embed_drawings(Library(args.out / "drawings.zip"), args.out / "drawings.safetensors")
    for file in sorted(args.out.rglob("*")):
        if file.is_file():
            print(f"{file.stat().st_size / 2**20:6.2f} MiB  {file.relative_to(args.out)}")


if __name__ == "__main__":
    main()
