"""`easel models`: Krea's open weights, as the settings name them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from easel.cli.output import results, say, show
from easel.cli.settings import settings_with
from easel.errors import CheckpointError

models = typer.Typer(help="List, check and find Krea's open weights.", no_args_is_help=True)

ROUTES = {"turbo": "medium, medium-turbo", "raw": "large", "parts": "all"}
Part = Literal["turbo", "raw", "parts"]


def sources() -> dict[Part, str]:
    """What each part is read from, as the settings name it."""
    krea = settings_with().krea
    named: dict[Part, str] = {"turbo": krea.turbo or "", "raw": krea.raw or "", "parts": krea.parts}
    return {part: source for part, source in named.items() if source}


def folders(part: Part) -> Sequence[str]:
    """The folders that are needed of it."""
    from easel.model.hub import PARTS

    return PARTS if part == "parts" else ("transformer",)


@models.command("list")
def list_() -> None:
    """Show what each model is painted with, and where it is."""
    from easel.model.hub import at_hand

    rows = []
    for part, source in sources().items():
        try:
            place: Path | str = at_hand(source, folders(part)) or "not fetched yet"
        except CheckpointError as error:
            place = error.message
        rows.append((part, ROUTES[part], source, place))
    show(["part", "paints", "source", "where"], rows)


@models.command()
def check() -> None:
    """Say whether the weights are whole and fit; only what the files tell of themselves is read."""
    from easel.engine.krea import best_device
    from easel.engine.transformers import free_memory, memory_outside
    from easel.model import open_weights
    from easel.model.fitting import fitted, precisions
    from easel.model.hub import at_hand, check_room, here, places, to_fetch
    from easel.style.krea_training import trainings

    device = best_device(settings_with().device.split(",")[0])
    free, outside = free_memory(device), memory_outside() if device.type == "cuda" else None
    away = {part: source for part, source in sources().items() if at_hand(source, folders(part)) is None}
    for part, source in away.items():
        files = to_fetch(source, folders(part))
        check_room(source, files, free + (outside or 0), settings_with().krea.precision)
        say(f"{part}: {sum(files.values()) / 1e9:.1f} GB of {source} are to be fetched, and fit")
    if away:
        return
    plan = open_weights.planned(*places(settings_with().krea, here))
    for weights, transformer in plan.transformers.items():
        results.print(f"{weights:<6} whole, {transformer.bytes / 1e9:.1f} GB of memory")
    results.print(f"parts  whole, {(plan.text.bytes + plan.vae.bytes) / 1e9:.1f} GB of memory")
    if lora := settings_with().krea.style_lora:
        open_weights.style_lora_at(Path(lora).expanduser(), plan.transformers["turbo"].network)
        results.print("style  its LoRA is this network's")
    show(["precision", "GB, all of it", "text encoder outside", "blocks streamed too"], precisions(plan))
    if "raw" in plan.transformers:
        show(["precision", "GB, a training", "blocks streamed too"], trainings(plan))
    fit = fitted(plan, settings_with().krea.precision, free, outside)
    results.print(f"needs {fit.need / 1e9:.1f} GB on {device}, where {free / 1e9:.1f} GB are free")
    results.print(", ".join(f"{name} {value}" for name, value in fit.told.items()))


@models.command()
def path(part: Annotated[Part, typer.Argument(help="turbo, raw or parts.")]) -> None:
    """Print the folder or file of a part."""
    from easel.model.hub import here

    source = sources().get(part)
    if source is None:
        raise CheckpointError(f"there is no {part!r}: EASEL_KREA_{part.upper()} is empty")
    results.print(str(here(source, folders(part))))
