"""Where a checkpoint is: a folder, a file, or a name on the hub, fetched once it is sure that it fits."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from easel.errors import CheckpointError
from easel.model.files import stored_in

ON_THE_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
TRANSFORMER = ("transformer",)
PARTS = ("text_encoder", "tokenizer", "vae")
NETWORKS = ("transformer", "text_encoder", "vae")


def at_hand(source: str, folders: Sequence[str], hub: Any = None) -> Path | None:
    """The folder or file that `source` names, with all of `folders` in it; None if it has to be fetched first.

    Raises CheckpointError for a path where there is nothing.
    """
    place = Path(source).expanduser()
    if place.exists():
        return place
    if not ON_THE_HUB.fullmatch(source) or source.endswith(".safetensors"):
        raise CheckpointError(f"there is no folder or file {source!r}: name one, or a model on the hub (krea/…)")
    try:
        kept = Path((hub or HfApi()).snapshot_download(source, local_files_only=True))
        for folder in folders:
            if folder in NETWORKS:
                stored_in(kept / folder)
    except (LocalEntryNotFoundError, CheckpointError):
        return None
    return kept


def fetched(source: str, folders: Sequence[str], memory: float, hub: Any = None) -> Path:
    """The folder or file that `source` names, out of the hub if it is not yet here.

    Raises CheckpointError before anything is fetched: where the model is gated and its licence not accepted, where
    its weights take more than `memory` bytes, or the disk has no room for them.
    """
    hub = hub or HfApi()
    if kept := at_hand(source, folders, hub):
        return kept
    try:
        hub.auth_check(source)
        files = hub.model_info(source, files_metadata=True).siblings or []
        wanted = [f for f in files if f.rfilename.split("/")[0] in folders or f.rfilename == "model_index.json"]
        check_sizes(source, {f.rfilename: f.size or 0 for f in wanted}, folders, memory)
        return Path(hub.snapshot_download(source, allow_patterns=[f.rfilename for f in wanted]))
    except GatedRepoError:
        raise CheckpointError(
            f"{source!r} is gated: accept its licence on its page on the hub, then set HF_TOKEN to a token of that "
            "account (or log in with `hf auth login`)"
        ) from None
    except RepositoryNotFoundError:
        raise CheckpointError(f"the hub shows no model {source!r}: mend the name, or set HF_TOKEN") from None
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"{source!r} is not on this machine, and the hub cannot be reached: {error}; fetch it elsewhere with "
            f"`hf download {source}` and name its folder"
        ) from None


def check_sizes(source: str, sizes: dict[str, int], folders: Sequence[str], memory: float) -> None:
    """Raise CheckpointError unless all folders are there, and fit into memory and on the disk."""
    if missing := [folder for folder in folders if not any(name.startswith(f"{folder}/") for name in sizes)]:
        raise CheckpointError(f"{source!r} has no folder {missing[0]!r}: it is not laid out for diffusers")
    weights = sum(size for name, size in sizes.items() if name.endswith(".safetensors"))
    if weights > memory:
        raise CheckpointError(
            f"{source!r} takes {weights / 1e9:.1f} GB of memory and {memory / 1e9:.1f} GB are free: nothing was fetched"
        )
    cache = next(folder for folder in (Path(HF_HUB_CACHE), *Path(HF_HUB_CACHE).parents) if folder.exists())
    free = shutil.disk_usage(cache).free
    if sum(sizes.values()) > free:
        raise CheckpointError(
            f"{source!r} takes {sum(sizes.values()) / 1e9:.1f} GB and {str(cache)!r} has {free / 1e9:.1f} GB free: "
            "make room, or set HF_HOME to another disk"
        )
