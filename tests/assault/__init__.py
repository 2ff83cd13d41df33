"""Attacks on what is kept: kills, faults, damaged files. `make assault`; a little in each test."""
