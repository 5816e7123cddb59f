"""A language model behind an OpenAI-compatible `/v1`, asked to expand prompts."""

import asyncio
import json
from collections.abc import Callable

import structlog
from pydantic import BaseModel, Field, ValidationError

from easel import outbound
from easel.errors import CheckpointError, NoAnswer, OutboundError
from easel.settings import Chat

SECONDS = 60  # that an answer may take
BEAT = 0.5  # seconds after which it is asked whether to go on

log = structlog.get_logger()


class Message(BaseModel):
    content: str | None = None


class Choice(BaseModel):
    message: Message
    finish_reason: str | None = None


class Answer(BaseModel):
    """What is read of an answer."""

    choices: list[Choice] = Field(min_length=1)


class Endpoint:
    """Asks `{url}/chat/completions`; raises CheckpointError where no model is named."""

    name = "the language model of EASEL_EXPANDER_URL"

    def __init__(self, chat: Chat, seconds: float = SECONDS) -> None:
        if not chat.model:
            raise CheckpointError(
                f"EASEL_EXPANDER_URL is {chat.url!r}: set EASEL_EXPANDER_MODEL to its model's name"
            )
        self._chat, self._seconds = chat, seconds
        self._headers = {"Content-Type": "application/json"}
        if chat.key:
            self._headers["Authorization"] = f"Bearer {chat.key}"

    def ask(
        self,
        instruction: str,
        question: str,
        *,
        most: int,
        temperature: float,
        seed: int,
        going_on: Callable[[], None] = lambda: None,
    ) -> str:
        """The answer, in `most` tokens; NoAnswer without one. What `going_on` raises ends the wait."""
        asked = {
            "model": self._chat.model,
            "messages": [
                {"role": "system", "content": instruction},
                {"role": "user", "content": question},
            ],
            "max_tokens": most,
            "temperature": temperature,
            "seed": seed % 2**31,
        }
        try:
            data = asyncio.run(self._answered(json.dumps(asked).encode(), going_on))
            choice = Answer.model_validate_json(data).choices[0]
        except (OutboundError, ValidationError) as error:
            log.error("The language model for prompts cannot be used", error=str(error))  # names its address
            raise NoAnswer(f"{self.name} gave no answer") from error
        if choice.finish_reason == "length":
            raise NoAnswer(f"the answer was not at its end after {most} tokens")
        return choice.message.content or ""

    async def _answered(self, body: bytes, going_on: Callable[[], None]) -> bytes:
        url = f"{self._chat.url.rstrip('/')}/chat/completions"
        asking = asyncio.create_task(outbound.ask(url, body, self._headers, outbound.ANYWHERE, self._seconds))
        try:
            while not (await asyncio.wait({asking}, timeout=BEAT))[0]:
                going_on()
        finally:
            asking.cancel()
        return await asking
