"""An autoregressive prior over the symbols of a grid: Image GPT on codes, not on pixels."""

from torch import Tensor

from companion.models.image_gpt import ImageGPT
from companion.models.quantized import SIDE


class CodePrior(ImageGPT):
    """The law p(c) = prod_t p(c_t | c before) of tokens (B, 49), each one of K; see `ImageGPT`.

    A place reads the earlier symbols of the block of two rows above and two columns each way.
    """

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int = 2) -> None:
        super().__init__(
            width, layers, heads, block=1, window=2, side=SIDE, vocabulary=vocabulary
        )  # fmt: skip

    def tokens(self, x: Tensor) -> Tensor:
        """Tokens are what this model is of: (B, 49), any whole type -> int64 (B, 49)."""
        return x.long()

    def images(self, tokens: Tensor) -> Tensor:
        """Leave tokens as they are."""
        return tokens
