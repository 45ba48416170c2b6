"""Demos of the transformer: attention, positional encoding."""
