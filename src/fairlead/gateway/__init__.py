"""The gateway: one request's straight line, from HTTP in to the record."""
