"""Demos of convolution and recurrence."""
