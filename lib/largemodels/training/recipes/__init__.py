"""Recipes: one module for each checkpoint that ships with the package, run with `python -m`."""
