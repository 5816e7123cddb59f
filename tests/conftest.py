"""What tests share. Each of the processes that run them has one of each, made when it is first asked for."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch comes: the tests run in several processes

import pytest
from answering import Api, answering, in_new_workspace
from at_work import at_work
from databases import fresh_database, running
from serving import Served, serving

from easel.catalog import RECIPES
from easel.store.blobs import Blobs

if TYPE_CHECKING:
    from easel.style.painter import NanoPainter


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server whose database `template` has all tables."""
    with running() as url:
        yield url


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder; not below pytest's, which each run closes to the user that PostgreSQL runs as."""
    with tempfile.TemporaryDirectory(prefix="easel-") as folder:
        yield Path(folder)


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """An empty data folder."""
    with open_folder() as folder:
        yield folder


@pytest.fixture
def database_url(postgres: str) -> str:
    """The URL of a fresh database with all tables."""
    return fresh_database(postgres)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    """An empty place for files."""
    return Blobs((tmp_path / "blobs").as_uri())


@pytest.fixture(scope="session")
def painter() -> "NanoPainter":
    """The model that ships."""
    from easel.style.painter import NanoPainter  # here: most tests start without torch

    return NanoPainter.load()


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """A whole server, with the null engine; it may reach this machine's own addresses."""
    with open_folder() as folder, serving(folder, EASEL_ALLOW_NETWORKS='["127.0.0.0/8"]') as served:
        yield served


@pytest.fixture(scope="session")
def idle_server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API without a worker."""
    with answering(fresh_database(postgres), tmp_path_factory.mktemp("idle")) as api:
        yield api


@pytest.fixture(scope="session")
def tiny_turbo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Krea-2-Turbo in miniature."""
    import tiny_krea  # here: most tests do without torch

    return tiny_krea.save(tmp_path_factory.mktemp("krea") / "turbo", distilled=True)


@pytest.fixture(scope="session")
def tiny_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Krea-2-Raw in miniature."""
    import tiny_krea

    return tiny_krea.save(tmp_path_factory.mktemp("krea") / "raw", distilled=False, seed=1)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The times at which this process has listened to references of Krea's weights."""
    from easel.model import shared

    found: list[object] = []
    listen = shared.listen
    monkeypatch.setattr(shared, "listen", lambda *given: found.append(given[3]) or listen(*given))
    return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of Krea's weights a sixteenth as large a side as the contract's, in two steps."""
    monkeypatch.setattr("easel.schema.generation.SIZES", {"1:1": (64, 64), "3:2": (96, 64)})
    for route, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, route, replace(recipe, steps=2))


@pytest.fixture(scope="session")
def staffed_server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API with a worker beside it."""
    with answering(fresh_database(postgres), tmp_path_factory.mktemp("staffed")) as api, at_work(api):
        yield api


@pytest.fixture(scope="session")
def server(idle_server: Api) -> Api:
    """The API that `api` asks; a module that needs another one has a fixture of this name."""
    return idle_server


@pytest.fixture
def api(server: Api) -> Iterator[Api]:
    """The API, for a caller in a workspace of its own."""
    with in_new_workspace(server) as api:
        yield api


@pytest.fixture
def idle(idle_server: Api) -> Iterator[Api]:
    """An API without a worker, for a caller in a workspace of its own."""
    with in_new_workspace(idle_server) as api:
        yield api


@pytest.fixture
def alone(postgres: str, tmp_path: Path) -> Iterator[Api]:
    """An API without a worker, whose database and files nobody else touches."""
    with answering(fresh_database(postgres), tmp_path) as server, in_new_workspace(server) as api:
        yield api
