"""Style references that act through the prompt alone.

The text encoder sees the references before the prompt, with a sentence on what they are for; of what it
makes of all this, the prompt's own tokens are kept. What was to be seen in the references cannot reach the
picture but by what it did to these words, so that a manner is taken over and no thing. References stand
together (`easel.model.sequence`): any number of them is as loud as one, and their order means nothing.
"""

from collections.abc import Callable, Sequence

from PIL import Image
from torch import Tensor

from easel.model.shared import mixed

Tints = Sequence[tuple[Image.Image, float]]  # references and their weights, `easel.model.shared.weight_of`
Shares = Sequence[tuple[Image.Image, float]]  # references and their shares, which come to 1


def tinted(hear: Callable[[Shares], Tensor], tints: Tints) -> Tensor:
    """The prompt's features (1, T, D), moved towards those beside the references whose weights are above 0,
    and away from those beside the others.

    `hear` gives the features beside references. They move in a straight line, by what the weights come to, 1
    at most: nothing moves at 0, and away from references no token grows.
    """
    own, found = hear(()), []
    for sign in (1, -1):
        felt = [(image, sign * weight) for image, weight in tints if sign * weight > 0]
        whole = sum(weight for _, weight in felt)
        if felt:
            beside = hear([(image, weight / whole) for image, weight in felt])
            found.append((sign * min(1.0, whole), beside))
    return mixed(own, found) if found else own
