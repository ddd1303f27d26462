"""Benchmarks: of the gateway against other proxies, and of its path without sockets."""
