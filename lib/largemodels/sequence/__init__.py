"""Networks that read images and sequences step by step: convolution, recurrence, gates."""
