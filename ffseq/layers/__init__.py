"""Kinds of layers, one a file."""
