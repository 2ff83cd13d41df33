"""Models: they return distributions, so that a loss is the formula."""
