"""`easel doctor`: what is wrong with this machine, and how to mend it."""


def doctor() -> None:
    """Say what is wrong with this machine and how to mend it."""
