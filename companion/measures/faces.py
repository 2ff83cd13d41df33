"""What chapter `latent/faces` asks of VAEs of faces, and of the network that reads them."""

import torch

from companion.data import Dataset
from companion.estimate import Estimate, mean_of
from companion.metrics import elbo_terms, signal_to_noise, similarity
from companion.models.classifier import Reader
from companion.models.vae import VAE

WATCHED = 1000  # test faces, the first ones, that every measure sees


@torch.no_grad()
def of_reconstruction(model: VAE, data: Dataset) -> dict[str, Estimate]:
    """How near decoded codes come to their test faces; the bound and its terms."""
    x = data.examples("test", WATCHED)[0]
    mean = torch.cat([model.decode(model.code(part)).mean for part in x.split(100)])
    return {
        "PSNR": signal_to_noise(mean, x),
        "SSIM": similarity(mean, x),
        **elbo_terms(model, x, batch=100),
    }


@torch.no_grad()
def of_reader(model: Reader, data: Dataset) -> dict[str, Estimate]:
    """Accuracy on binary attributes, and the squared correlation with continuous ones."""
    x, truth = data.examples("test", WATCHED)
    truth = truth.cpu()
    found = torch.cat([model.read(part) for part in x.split(100)]).cpu()
    binary = torch.tensor(model.binary)
    right = ((found[:, binary] > 0.5) == (truth[:, binary] > 0.5)).double().mean(1)
    wrong = (found - truth)[:, ~binary].square() / truth[:, ~binary].var(0)
    return {"accuracy": mean_of(right, "accuracy"), "explained": mean_of(1 - wrong.mean(1))}
