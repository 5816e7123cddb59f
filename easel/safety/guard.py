"""Who judges the prompts and pictures of a job, as the settings have it."""

import asyncio
from typing import Protocol

from PIL.Image import Image

from easel.errors import CheckpointError
from easel.safety.hosted import HostedGuard
from easel.safety.prompts import EVEN_WHEN_OFF, check
from easel.settings import Settings


class Guard(Protocol):
    """Lets prompts and pictures pass, or raises UnsafePrompt, UnsafePicture or SafetyUnavailable."""

    name: str  # for the details of what it judged

    async def check_prompt(self, prompt: str) -> None:
        """Judge what is asked for."""
        ...

    async def check_picture(self, image: Image, what: str) -> None:
        """Judge a picture; `what` begins the message: "The finished picture"."""
        ...

    def may_show(self, preview: Image) -> bool:
        """Whether a step of a painting may be seen."""
        ...


class NoGuard:
    """The filter switched off, but for what is never painted; `elsewhere` says who judges the rest."""

    def __init__(self, elsewhere: str = "") -> None:
        self.name = f"elsewhere: {elsewhere}" if elsewhere else "off"

    async def check_prompt(self, prompt: str) -> None:
        """Raise UnsafePrompt if a rule that is always on is broken."""
        await asyncio.to_thread(check, prompt, EVEN_WHEN_OFF)

    async def check_picture(self, image: Image, what: str) -> None:
        """Let every picture pass."""

    def may_show(self, preview: Image) -> bool:
        """Always."""
        return True


def guard_of(settings: Settings) -> Guard:
    """The guard that the settings name; CheckpointError if it is not installed."""
    if settings.moderation_url:
        return HostedGuard(settings.moderation_url, settings.moderation_key)
    if settings.safety == "off":
        return NoGuard(settings.filtered_elsewhere)
    try:
        from easel.safety.shipped import ShippedGuard
    except ModuleNotFoundError as error:
        raise CheckpointError(f"{error.name!r} is not installed: pip install 'easel[worker]'") from error
    return ShippedGuard()
