"""Who may import whom, as docs/design.md draws it; and what starts without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import easel

PACKAGE = Path(easel.__file__).parent

GROUND = {
    "catalog",
    "errors",
    "ids",
    "licence",
    "outbound",
    "pictures",
    "pricing",
    "process",
    "schema",
    "settings",
    "signing",
}
LAYERS = {
    "model": set(),
    "engine": {"model"},
    "style": {"model", "engine"},
    "train": {"model", "engine", "style"},
    "store": set(),
    "safety": {"model", "engine"},
    "api": {"store"},
    "jobs": {"store", "style", "safety", "train", "engine"},
    "sdk": set(),
    "serve": {"store", "api"},
    "work": {"store", "style", "safety", "engine", "jobs"},
}


def layer_of(module: str) -> str:
    """'ground' or the first name below the package: easel.store.jobs is 'store'.

    The package itself, which knows its version and its one sentence, is ground too.
    """
    name = module.partition(".")[2].partition(".")[0]
    return "ground" if name in GROUND or not name else name


def imports_of(source: Path) -> Iterator[str]:
    """Every module of easel that a source file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "easel":
            names = [f"easel.{alias.name}" for alias in node.names]
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (name for name in names if name.split(".")[0] == "easel")


def modules() -> list[str]:
    paths = (path.relative_to(PACKAGE.parent).with_suffix("") for path in sorted(PACKAGE.rglob("*.py")))
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


@pytest.mark.parametrize(
    "module", [name for name in modules() if name != "easel" and layer_of(name) not in ("__main__", "cli")]
)
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    path = PACKAGE.parent / module.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    layer = layer_of(module)
    allowed = {"ground", layer} | (set() if layer == "ground" else LAYERS[layer])
    strangers = {name for name in imports_of(source) if layer_of(name) not in allowed}
    assert not strangers, (
        f"{module} is of {layer!r}, which may import {sorted(allowed)}; it imports {strangers}"
    )


@pytest.mark.parametrize("module", ["easel", "easel.cli.main", "easel.serve", "easel.api.app"])
def test_what_answers_requests_starts_without_torch(module: str) -> None:
    assert loaded_by(module) & {"torch", "diffusers", "transformers", "onnxruntime"} == set()


def test_the_client_starts_with_the_base_installation() -> None:
    extras = {"PIL", "sqlalchemy", "fastapi", "pydantic_settings", "asyncpg", "obstore", "pgqueuer"}
    assert loaded_by("easel.cli.main") & extras == set()


def loaded_by(module: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after it imported `module`."""
    program = f"import sys, {module}; print(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split()
    )
