"""Fairlead: the operations platform for AI applications."""

__version__ = "0.1.0"
