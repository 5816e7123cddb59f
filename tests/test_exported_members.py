"""The public surface of the package is what it says it is."""

import inspect

import easel


def test_all_is_sorted_and_complete() -> None:
    classes = {name for name, value in vars(easel).items() if inspect.isclass(value)}
    assert easel.__all__ == sorted(classes | {"__version__"})
