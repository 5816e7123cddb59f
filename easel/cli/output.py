"""What the command prints: results on standard output, everything else on standard error."""

import rich.console

results = rich.console.Console(highlight=False, soft_wrap=True)
remarks = rich.console.Console(highlight=False, soft_wrap=True, stderr=True)


def say(remark: str) -> None:
    """A remark for the person at the terminal, exactly as it is."""
    remarks.print(remark, markup=False)
