"""Where a checkpoint is: a folder, a file, or a name on the hub, fetched once it is sure that it fits."""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    GatedRepoError,
    HTTPError,  # httpx's, or of late httpx2's
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from easel.catalog import Weights
from easel.errors import CheckpointError
from easel.model.files import read_json, stored_in
from easel.settings import KreaSources

ON_THE_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
FILES = (".safetensors", ".gguf", ".ckpt", ".pt", ".pth", ".bin")
PARTS = ("text_encoder", "tokenizer", "vae")
NETWORKS = ("transformer", "text_encoder", "vae")
INDEX = "model_index.json"
SHARES = {"bf16": 1.0, "auto": 0.52, "fp8": 0.52, "nf4": 0.31}  # of a transformer, what is kept at least
BESIDE = (INDEX, "tokenizer/tokenizer_config.json")  # what is read of the parts beside the networks


def wanted(sources: KreaSources) -> dict[str, list[str]]:
    """Each source with the folders that are needed of it."""
    folders: dict[str, list[str]] = {}
    for transformer in (sources.turbo, sources.raw):
        if transformer:
            folders[transformer] = ["transformer"]
    folders.setdefault(sources.parts, []).extend(PARTS)
    return folders


def places(
    sources: KreaSources, find: Callable[[str, Sequence[str]], Path]
) -> tuple[dict[Weights, Path], Path, bool]:
    """Where the transformers and the other parts are, and whether there is a style LoRA, as `planned` takes
    them; `find`, which is `here` or `fetched`, says where each is."""
    if not sources.turbo and not sources.raw:
        raise CheckpointError("EASEL_KREA_TURBO and EASEL_KREA_RAW are both empty: name what is to paint")
    found = {source: find(source, folders) for source, folders in wanted(sources).items()}
    named: dict[Weights, str | None] = {"turbo": sources.turbo, "raw": sources.raw}
    transformers = {weights: found[source] for weights, source in named.items() if source}
    return transformers, found[sources.parts], bool(sources.style_lora)


def fetched(
    source: str, folders: Sequence[str], memory: float, precision: str = "bf16", hub: Any = None
) -> Path:
    """The folder or file that `source` names, out of the hub if it is not yet here.

    Raises CheckpointError before anything is fetched: where the model is gated and its licence not accepted,
    where its weights in this precision take more than `memory` bytes, or the disk has no room for them.
    """
    hub = hub or HfApi()
    if kept := at_hand(source, folders, hub):
        return kept
    files = to_fetch(source, folders, hub)
    check_room(source, files, memory, precision)
    try:
        return Path(hub.snapshot_download(source, allow_patterns=list(files)))
    except (HTTPError, OSError) as error:
        raise CheckpointError(
            f"{source!r} could not be fetched whole: {error}; start again to go on"
        ) from None


def here(source: str, folders: Sequence[str]) -> Path:
    """The folder or file that `source` names, if it need not be fetched; CheckpointError otherwise."""
    if place := at_hand(source, folders):
        return place
    raise CheckpointError(f"{source!r} is not on this machine: `easel serve --models krea` fetches it")


def at_hand(source: str, folders: Sequence[str], hub: Any = None) -> Path | None:
    """The folder or file that `source` names; None if it is on the hub and has to be fetched first.

    Raises CheckpointError for a path where there is nothing.
    """
    place = Path(source).expanduser()
    if place.exists():
        return place
    if not ON_THE_HUB.fullmatch(source) or source.endswith(FILES):
        raise CheckpointError(
            f"there is no folder or file {source!r}: name one, or a model on the hub (krea/…)"
        )
    try:
        needed = [INDEX, *(f"{folder}/*" for folder in folders)]  # more of it was never fetched
        hub = hub or HfApi()
        kept = Path(hub.snapshot_download(source, allow_patterns=needed, local_files_only=True))
        for folder in folders:
            if folder in NETWORKS:
                stored_in(kept / folder)
        for file in BESIDE if "tokenizer" in folders else ():
            read_json(kept / file)
    except (LocalEntryNotFoundError, CheckpointError):
        return None
    return kept


def to_fetch(source: str, folders: Sequence[str], hub: Any = None) -> dict[str, int]:
    """The files on the hub that are needed of `source`, with their sizes in bytes.

    Raises CheckpointError where they are gated, not laid out for diffusers, or out of reach.
    """
    hub = hub or HfApi()
    try:
        hub.auth_check(source)
        files = {
            file.rfilename: file.size or 0 for file in hub.model_info(source, files_metadata=True).siblings
        }
    except GatedRepoError:
        raise CheckpointError(
            f"{source!r} is gated: accept its licence on its page on the hub, then set HF_TOKEN to a token "
            "of that account, or log in with `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise CheckpointError(
            f"the hub shows no model {source!r}: mend the name, of which {str(Path.cwd())!r} has no folder "
            "either, or set HF_TOKEN"
        ) from None
    except (HTTPError, OSError) as error:
        raise CheckpointError(
            f"{source!r} is not on this machine, and the hub cannot be reached ({error}): fetch it elsewhere "
            f"with `hf download {source} --include {INDEX} --include '*/*'`, and name its folder"
        ) from None
    if missing := [folder for folder in folders if not any(name.startswith(f"{folder}/") for name in files)]:
        raise CheckpointError(f"{source!r} has no folder {missing[0]!r}: it is not laid out for diffusers")
    return {name: size for name, size in files.items() if name == INDEX or name.split("/")[0] in folders}


def check_room(source: str, files: Mapping[str, int], memory: float, precision: str) -> None:
    """Raise CheckpointError unless these files fit into so many bytes of memory, and on the disk."""
    weights = sum(
        size * (SHARES[precision] if name.startswith("transformer/") else 1)
        for name, size in files.items()
        if name.endswith(".safetensors")
    )
    if weights > memory:
        raise CheckpointError(
            f"{source!r} takes {weights / 1e9:.1f} GB of memory with EASEL_PRECISION={precision}, and "
            f"{memory / 1e9:.1f} GB are free: it was not fetched"
        )
    cache = Path(HF_HUB_CACHE)
    disk = next(folder for folder in (cache, *cache.parents) if folder.exists())
    size, free = sum(files.values()), shutil.disk_usage(disk).free
    if size > free:
        raise CheckpointError(
            f"{source!r} takes {size / 1e9:.1f} GB, and the disk of {str(disk)!r} has {free / 1e9:.1f} GB "
            "free: make room, or set HF_HOME to another disk"
        )
