"""The settings of a command: what it was told, then the environment."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

if TYPE_CHECKING:
    from easel.settings import Settings

Models = Annotated[
    str | None,
    typer.Option(help="What paints: nano, or krea for Krea's open weights.  [EASEL_MODELS]", metavar="NAME"),
]


def settings_with(**given: Any) -> "Settings":
    """The settings from `EASEL_*`, with `given` before them; a wrong one ends the command."""
    from easel.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = error.errors()[0]
        name = f"EASEL_{'_'.join(map(str, wrong['loc'])).upper()}"
        raise typer.BadParameter(f"{name}: {wrong['msg']} (got {wrong['input']!r})") from None
