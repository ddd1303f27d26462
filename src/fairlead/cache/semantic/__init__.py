"""The verified semantic tier: a cached answer for a question that was put differently.

Similarity alone serves opposite questions each other's answers, whatever the
threshold. Here it only proposes: guards reject what differs in substance, a
model that learns from verified answers must be sure, and a statistic over
verified decisions has the last word. Nothing here does I/O except `minilm`,
which reads a model.
"""
