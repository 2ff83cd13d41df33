"""Experiments: plain values -> Recipe. The only place where data, model and objective meet."""

from companion.experiments.faces import face_reader, face_vae, two_layer_face_vae
from companion.experiments.images import autoencoder, classifier, extractor, vae
from companion.experiments.sprites import beta_tcvae, beta_vae

EXPERIMENTS = {
    f.__name__: f for f in (autoencoder, vae, classifier, extractor, beta_vae, beta_tcvae)
}

__all__ = [
    "EXPERIMENTS", "autoencoder", "beta_tcvae", "beta_vae", "classifier", "extractor",
    "face_reader", "face_vae", "two_layer_face_vae", "vae",
]  # fmt: skip
