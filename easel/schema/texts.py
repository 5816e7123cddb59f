"""Texts as they may be kept: PostgreSQL has no room for U+0000."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict
from pydantic_core import PydanticCustomError

SAYS_SOMETHING = r"^[^\x00]*[^\s\x00\x1c-\x1f\x85][^\x00]*$"
"""What is not only white space, as the document tells it."""


def _text(value: Any) -> Any:
    if isinstance(value, str) and "\x00" in value:
        raise PydanticCustomError("nul_character", "must not contain the character U+0000: remove it")
    return value


def _said(value: Any) -> Any:
    if isinstance(value, str) and value and not value.strip():
        raise PydanticCustomError("blank", "must say something, not only white space")
    return value


Text = Annotated[str, Strict(), BeforeValidator(_text), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]
Said = Annotated[Text, BeforeValidator(_said), Field(json_schema_extra={"pattern": SAYS_SOMETHING})]
"""Not only white space."""
