"""Advice about a network, with figures.

Each rule is one file in `archdsl.linter.rules`, and is not mentioned elsewhere.
"""
