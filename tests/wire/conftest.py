"""One API for the whole suite, and a workspace of its own for each test; see tests/answering.py."""

from collections.abc import Iterator

import pytest
from answering import Api, answering, in_new_workspace
from conftest import fresh_database


@pytest.fixture(scope="session")
def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with answering(fresh_database(postgres), tmp_path_factory.mktemp("wire")) as api:
        yield api


@pytest.fixture
def api(server: Api) -> Iterator[Api]:
    with in_new_workspace(server) as api:
        yield api
