"""Measures: (model, data) -> numbers with standard errors. What a recipe watches and reports."""
