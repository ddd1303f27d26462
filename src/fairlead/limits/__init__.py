"""Rates, tokens, money and places: what each tenant, key and model may take.

Pure decisions and the stores they are kept in. Knows nothing of HTTP.
"""
