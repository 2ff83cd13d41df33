"""Plain networks that read images: classifiers, the pinned extractor, a reader of attributes."""

import torch
from torch import Tensor, nn

from companion.nets import image_encoder


class Classifier(nn.Module):
    """Features, then one linear layer: images (B, C, H, W) in [0, 1] -> class logits."""

    def __init__(self, features: nn.Module, width: int, classes: int = 10):
        super().__init__()
        self.features, self.head = features, nn.Linear(width, classes)

    def code(self, x: Tensor) -> Tensor:
        """Feature vector before the last layer: (B, C, H, W) -> (B, width)."""
        return self.features(x).float()

    def classify(self, x: Tensor) -> Tensor:
        """Class logits: (B, C, H, W) -> (B, classes)."""
        return self.head(self.code(x))


def extractor_network() -> Classifier:
    """The architecture whose features measure Fréchet distances: 28 x 28 grey -> 64 features."""
    return Classifier(nn.Sequential(image_encoder(64), nn.ReLU()), 64)


class Reader(nn.Module):
    """Read attributes off a face: images (B, C, H, W) in [0, 1] -> (B, A).

    kinds: for each attribute "continuous", read as a number, or "binary", read as a probability.
    """

    def __init__(self, features: nn.Module, kinds: tuple[str, ...]):
        super().__init__()
        self.features = features
        self.binary = [kind == "binary" for kind in kinds]

    def raw(self, x: Tensor) -> Tensor:
        """Numbers of continuous attributes and logits of binary ones: (B, C, H, W) -> (B, A)."""
        return self.features(x).float()

    def read(self, x: Tensor) -> Tensor:
        """Numbers of continuous attributes and probabilities of binary ones."""
        raw = self.raw(x)
        return torch.where(torch.tensor(self.binary, device=x.device), raw.sigmoid(), raw)
