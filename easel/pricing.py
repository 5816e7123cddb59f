"""Ground: what a request costs, used to quote and to charge."""

from decimal import Decimal

from easel.catalog import Model, Tier
from easel.schema.generation import GenerationRequest


def tier(request: GenerationRequest) -> Tier:
    """The billing tier that `request` falls into."""
    if request.moodboards:
        return "moodboards"
    return "srefs" if request.image_style_references else "text-to-image"


def usd(amount: Decimal) -> str:
    """`amount` as it is written on the wire: exact, without zeros at its end."""
    return f"{amount.normalize():f}"


def price(model: Model, request: GenerationRequest) -> Decimal:
    """The price in USD of the picture that `request` asks of `model`."""
    return model.prices[tier(request)]
