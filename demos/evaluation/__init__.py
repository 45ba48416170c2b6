"""Demos of evaluation: metrics."""
