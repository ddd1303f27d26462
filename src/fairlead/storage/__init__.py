"""State behind three ports: `Database` (SQL), `KeyValue` (expiry, atomic scripts), `Blobs` (objects)."""
