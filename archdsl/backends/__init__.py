"""Outputs made from a network: PyTorch code, diagrams, charts and reports."""
