"""Advice about a network, with figures.

A rule is one file in `archdsl.lint.rules`; nothing else names it.
"""
