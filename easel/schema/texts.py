"""Texts as they may be kept: PostgreSQL has no room for U+0000."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Strict
from pydantic_core import PydanticCustomError


def _text(value: Any) -> Any:
    if isinstance(value, str) and "\x00" in value:
        raise PydanticCustomError("nul_character", "must not contain the character U+0000: remove it")
    return value


def _said(value: Any) -> Any:
    if isinstance(value, str) and value and not value.strip():
        raise PydanticCustomError("blank", "must say something, not only white space")
    return value


Text = Annotated[str, Strict(), BeforeValidator(_text)]
Said = Annotated[Text, BeforeValidator(_said)]
"""Not only white space."""
