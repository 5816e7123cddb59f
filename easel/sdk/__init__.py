"""The Python client: the contract's calls, written once, sent by a blocking and by an async client."""
