"""The parts of the Transformer, each from its formula."""
