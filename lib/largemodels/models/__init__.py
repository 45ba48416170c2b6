"""Whole models to run: thin wrappers over Transformers for BERT and GPT."""
