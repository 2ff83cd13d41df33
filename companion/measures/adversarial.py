"""What chapters `adversarial/gan` and `adversarial/wgan` ask of a generator of images."""

from companion.data import Dataset
from companion.estimate import Estimate
from companion.metrics import Frechet
from companion.metrics.coverage import class_histogram, effective_classes, imbalance, overlap
from companion.models.classifier import Classifier
from companion.models.gan import GAN
from companion.samplers.codes import from_fixed_codes

WATCHED = 5000  # images that are drawn whenever a model is watched, always of the same codes;
# as many as there are real ones where those are fewer, so that a quick trial stays quick
REAL = 10_000  # test images, the first ones, that they are compared with


class OfGenerator:
    """Measure a generator against the test images, whose features are found only once.

    network: whose features and classes are compared. A generator is measured with the running
    statistics of its batch normalisation, so that an image depends on its code alone.
    """

    def __init__(self, network: Classifier):
        self.network = network
        self.seen: tuple[str, int] | None = None

    def against(self, data: Dataset) -> Frechet:
        """Distances to the real images of a data set."""
        asked = (data.sha256, len(data.test[0]))
        if self.seen != asked:
            self.frechet = Frechet(data.examples("test", REAL)[0].cpu(), self.network)
            self.seen = asked
        return self.frechet

    def watch(self, model: GAN, data: Dataset) -> dict[str, Estimate]:
        """Squared Fréchet distance of 5,000 images, and how evenly they fill the classes."""
        frechet = self.against(data)
        n = min(WATCHED, len(frechet.features))
        features = frechet.embed(from_fixed_codes(model, n))
        shares = class_histogram(frechet.network.head(features))
        return {
            "frechet": frechet.distance_of(features),
            "classes": effective_classes(shares, n),
            "imbalance": imbalance(shares, n),
        }

    def measure(self, model: GAN, data: Dataset) -> dict[str, Estimate]:
        """The distance of as many images as there are real ones, and how the two sets overlap."""
        frechet = self.against(data)
        features = frechet.embed(from_fixed_codes(model, len(frechet.features)))
        found = overlap(frechet.features[:WATCHED], features[:WATCHED])
        return {"frechet, as many": frechet.distance_of(features), **found._asdict()}
