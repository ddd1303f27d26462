"""Benchmarks of the vault's file format."""
