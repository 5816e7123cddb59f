"""How a LoRA that reads reference pictures wants them, as far as its file says.

Two ways are in use, and a LoRA of the one does nothing in the other. Style references (ai-toolkit's) stand
behind the picture, each on a grid of its own, at t = 0; identity edit puts them before it, on its grid, at
its time. As far as is known both change the same layers of the network, so only names and metadata can tell:
trainers write there what the training was called, and of what kind it was.
"""

import re
from pathlib import Path

from safetensors import safe_open

from easel.errors import CheckpointError

TELLING = ("ss_base_model_version", "ss_output_name", "name", "modelspec.title", "modelspec.architecture")
IDENTITY_EDIT = re.compile(r"identity[ _-]*edit|krea[ _-]*2[ _-]*edit", re.IGNORECASE)
STYLE_REFERENCE = re.compile(r"style[ _-]*ref", re.IGNORECASE)


def wiring(file: Path) -> str:
    """What the file says of itself; CheckpointError if that is identity edit."""
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata() or {}
    said = {"its file name": file.stem} | {key: metadata[key] for key in TELLING if key in metadata}
    for place, text in said.items():
        if IDENTITY_EDIT.search(text):
            raise CheckpointError(
                f"the LoRA {str(file)!r} is for identity edit, as {place} says ({text!r}): it does nothing "
                "for style references; set EASEL_KREA_STYLE_LORA to one for those, or to nothing"
            )
    for place, text in said.items():
        if STYLE_REFERENCE.search(text):
            return f"for style references, as {place} says"
    return "its file does not say what it reads: it is taken for one of style references"
