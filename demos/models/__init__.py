"""Demos of trained models: BERT, GPT."""
