"""The data plane: an HTTP/1.1 server and client on asyncio protocols, and an SSE parser.

Free of product logic, so that it can be compiled or replaced.
"""
