"""Advice about a network, with figures."""
