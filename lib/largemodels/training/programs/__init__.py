"""Whole programs that stand on the pages: `python -m largemodels.training.programs.NAME …`.

Unlike the rest of the library they use Transformers directly, as a reader's own program would.
"""
