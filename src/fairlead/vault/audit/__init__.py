"""The record of who was let at what: append-only, hashed into a tree, signed, and verifiable offline."""
