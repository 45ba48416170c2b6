"""Training: corpora, pretraining, fine-tuning, and the recipes of the shipped checkpoints."""
