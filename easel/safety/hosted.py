"""A moderation endpoint in place of the filter that ships: OpenAI's `/v1/moderations`, or one like it."""

import asyncio
import json
from typing import Any

import structlog
from PIL.Image import Image
from pydantic import BaseModel, Field, ValidationError

from easel import outbound
from easel.engine.images import preview
from easel.errors import OutboundError, SafetyUnavailable, UnsafePicture, UnsafePrompt
from easel.safety.prompts import EVEN_WHEN_OFF, check

MODEL = "omni-moderation-latest"  # reads text and pictures
SIDE = 1024  # pixels, of the pictures that are sent

log = structlog.get_logger()


class Verdict(BaseModel):
    """What is read of a result."""

    flagged: bool
    categories: dict[str, bool | None] = {}

    @property
    def rules(self) -> list[str]:
        """The categories that are flagged."""
        named = [name for name, broken in self.categories.items() if broken]
        return named or ["flagged"] if self.flagged else []


class Answer(BaseModel):
    """What is read of an answer."""

    results: list[Verdict] = Field(min_length=1)


class HostedGuard:
    """Asks the endpoint about each prompt and picture; what it cannot be asked about does not pass."""

    name = "a moderation endpoint"

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    async def check_prompt(self, prompt: str) -> None:
        """Raise UnsafePrompt or SafetyUnavailable."""
        await asyncio.to_thread(check, prompt, EVEN_WHEN_OFF)
        if rules := await self._broken_by({"type": "text", "text": prompt}):
            raise UnsafePrompt(f"The prompt breaks the rule {rules!r}: ask for something else")

    async def check_picture(self, image: Image, what: str) -> None:
        """Raise UnsafePicture or SafetyUnavailable."""
        if rules := await self._broken_by({"type": "image_url", "image_url": {"url": preview(image, SIDE)}}):
            raise UnsafePicture(f"{what} breaks the rule {rules!r}: ask for something else")

    def may_show(self, preview: Image) -> bool:
        """No: to ask about each step would take longer than the step."""
        return False

    async def _broken_by(self, thing: dict[str, Any]) -> str:
        """The categories in which the endpoint flags a text or a picture."""
        body = json.dumps({"model": MODEL, "input": [thing]}).encode()
        try:
            answer = await outbound.ask(self._url, body, self._headers, outbound.ANYWHERE)
            results = Answer.model_validate_json(answer).results
        except (OutboundError, ValidationError) as error:
            log.error("The moderation endpoint cannot be used", error=str(error))  # names it: not for users
            raise SafetyUnavailable from error
        return ", ".join(rule for result in results for rule in result.rules)
