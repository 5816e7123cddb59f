"""Ground: what the licence of Krea's weights asks of whoever serves them, as far as a program can do it."""

from easel.errors import Unfiltered
from easel.settings import Settings

NOTICE = (  # word for word, wherever the model is made available
    "Krea 2 is licensed under the Krea 2 Community License Agreement. For more information, visit "
    "https://krea.ai/krea-2-licensing."
)


def check_filtered(settings: Settings) -> None:
    """Raise Unfiltered where Krea's weights would paint and nobody judges prompts and pictures."""
    if settings.models == "krea" and settings.is_unfiltered and not settings.filtered_elsewhere:
        raise Unfiltered(
            "EASEL_SAFETY is 'off', and the licence of Krea's weights asks for a content filter: unset it, "
            "name an endpoint in EASEL_MODERATION_URL, or say in EASEL_FILTERED_ELSEWHERE what filters "
            "prompts and pictures in its place"
        )
