"""Exact worlds: laws whose density is known, to measure what a model has learned."""
