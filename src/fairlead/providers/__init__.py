"""Dialects: pure codecs between the wire formats of providers and one neutral chat model. No I/O."""
