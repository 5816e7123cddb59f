"""Numbers as JSON writes them: 9.0 is whole."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Strict


def whole(value: Any) -> Any:
    """9.0 as 9; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, Strict(), BeforeValidator(whole)]
