"""A plain image classifier, the pinned feature extractor among them."""

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
