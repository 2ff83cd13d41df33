"""Experiments: plain values -> Recipe. The only place where data, model and objective meet."""

from companion.experiments.images import autoencoder, classifier, extractor, vae

EXPERIMENTS = {f.__name__: f for f in (autoencoder, vae, classifier, extractor)}

__all__ = ["EXPERIMENTS", "autoencoder", "classifier", "extractor", "vae"]
