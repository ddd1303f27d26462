"""The inference cache: the same question is not computed twice.

Keys, policy, stores and what looks through them here; answers to questions that
are alike, not the same, in `semantic`. Knows nothing of HTTP and of dialects:
answers are bytes.
"""
