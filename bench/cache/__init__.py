"""What the cache costs: time a request, memory an answer."""
