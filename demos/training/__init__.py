"""Demos of the chapter “training”."""
