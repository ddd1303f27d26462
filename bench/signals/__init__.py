"""Benchmarks of the semantic metrics."""
