"""Demos of the foundations: activations, losses, gradient descent."""
