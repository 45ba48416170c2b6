"""What every network is made of: activations, losses, and the steps that lower a loss."""
