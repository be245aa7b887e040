"""What a network is turned into: PyTorch code, and diagrams."""
