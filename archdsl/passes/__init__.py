"""Figures of a network: each pass reads the IR and returns new data."""
