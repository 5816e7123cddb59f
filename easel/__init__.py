"""Krea 2 on your own machines: the API, its models, and the client to use them with."""

__version__ = "0.1.0"
