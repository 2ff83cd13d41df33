"""Experiments: plain values -> Recipe. The only place where data, model and objective meet."""

from companion.experiments.adversarial import gan, wgan
from companion.experiments.diffusion import ddpm
from companion.experiments.faces import face_reader, face_vae, two_layer_face_vae
from companion.experiments.images import autoencoder, classifier, extractor, extractor_of, vae
from companion.experiments.sprites import beta_tcvae, beta_vae

KNOWN = (
    autoencoder, vae, classifier, extractor, beta_vae, beta_tcvae, two_layer_face_vae, face_vae,
    face_reader, gan, wgan, ddpm,
)  # fmt: skip
EXPERIMENTS = {experiment.__name__: experiment for experiment in KNOWN}

__all__ = [
    "EXPERIMENTS", "autoencoder", "beta_tcvae", "beta_vae", "classifier", "ddpm",
    "extractor", "extractor_of",
    "face_reader", "face_vae", "gan", "two_layer_face_vae", "vae", "wgan",
]  # fmt: skip
