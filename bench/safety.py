"""How well the prompt filter judges, and how long it takes: the figures of docs/safety.md.

python bench/safety.py
"""

import statistics
import time
import tomllib
from pathlib import Path

from easel.errors import UnsafePrompt
from easel.safety.prompts import RULES, check

LONGEST = 5000  # characters of a prompt that the API accepts


def main() -> None:
    lists = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    for name, prompts in lists.items():
        judge(name, prompts["harmless"], prompts["refuse"])
    every = [prompt for prompts in lists.values() for prompt in prompts["harmless"]]
    took = sorted(seconds(prompt) * 1000 for prompt in every)
    print(f"a prompt of these: median {statistics.median(took):.2f} ms, at most {took[-1]:.2f} ms")
    print(f"one of {LONGEST} characters: {seconds(' '.join(every)[:LONGEST]) * 1000:.0f} ms")


def judge(name: str, harmless: list[str], refuse: dict[str, list[str]]) -> None:
    """Print precision and recall on a list, and what is judged wrongly."""
    wrong = [prompt for prompt in harmless if refused(prompt)]
    missed = {rule: [prompt for prompt in prompts if not refused(prompt)] for rule, prompts in refuse.items()}
    asked = sum(map(len, refuse.values()))
    caught = asked - sum(map(len, missed.values()))
    print(f"{name}: {len(harmless)} harmless, {asked} to refuse")
    print(f"  precision {caught / (caught + len(wrong)):.1%}, recall {caught / asked:.1%}")
    for rule, prompts in refuse.items():
        print(
            f"  {rule}: {len(prompts) - len(missed[rule])} of {len(prompts)}",
            *missed[rule],
            sep="\n    missed: ",
        )
    print(f"  wrongly refused: {len(wrong)}", *wrong, sep="\n    ")


def refused(prompt: str) -> bool:
    try:
        check(prompt, RULES)
    except UnsafePrompt:
        return True
    return False


def seconds(prompt: str) -> float:
    begun = time.perf_counter()
    refused(prompt)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
