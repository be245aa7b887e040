"""Advice about a network, with figures.

A rule is one file in `archdsl.linter.rules`; nothing else names it.
"""
