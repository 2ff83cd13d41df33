"""Every model, trainer and check behind the book on deep generative models."""

__version__ = "0.1.0"
