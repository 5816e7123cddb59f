"""`easel serve` as a whole, killed and stopped. Alone: python -m pytest tests/test_serve.py"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from databases import postmaster
from serving import Served, serving

MEDIUM = "/generate/image/krea/krea-2/medium"


def client(served: Served) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {served.token}"}, timeout=30)


def submitted(api: httpx.Client) -> str:
    answer = api.post(MEDIUM, json={"prompt": "a fox"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["job_id"])


def until(holds: Callable[[], Any], seconds: float) -> float:
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < seconds, f"not within {seconds} seconds"
        time.sleep(0.05)
    return time.monotonic() - begun


def status(api: httpx.Client, job_id: str) -> Any:
    return api.get(f"/jobs/{job_id}").json()["status"]


def child(served: Served, command: str) -> psutil.Process:
    (found,) = [
        process for process in psutil.Process(served.process.pid).children() if command in process.cmdline()
    ]
    return found


def charges(served: Served) -> list[str]:
    """The ledger, as `psql` would show it."""
    script = (
        "import asyncio, asyncpg, sys\n"
        "from pathlib import Path\n"
        "from easel.store.embedded import running_url\n"
        "async def main():\n"
        "    connection = await asyncpg.connect(running_url(Path(sys.argv[1])))\n"
        "    rows = await connection.fetch('SELECT job_id FROM ledger ORDER BY charged_at')\n"
        "    print(*(row[0] for row in rows))\n"
        "    await connection.close()\n"
        "asyncio.run(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(served.data)], capture_output=True, check=True, text=True
    )
    return done.stdout.split()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """One server, for the tests that leave it standing."""
    with (
        tempfile.TemporaryDirectory(prefix="easel-") as folder,
        serving(Path(folder), EASEL_NULL_STEP_SECONDS="0.2") as server,
    ):
        yield server


def test_a_worker_that_dies_is_replaced_and_its_job_runs_again(served: Served) -> None:
    with client(served) as api:
        job_id = submitted(api)
        until(lambda: status(api, job_id) == "processing", 20)
        child(served, "work").kill()
        killed = time.monotonic()
        until(lambda: status(api, job_id) == "completed", 30)
        print(f"completed {time.monotonic() - killed:.2f} s after the kill, of which 1.6 s are its steps")
        assert charges(served).count(job_id) == 1


def test_an_api_process_that_dies_is_replaced_and_nobody_is_turned_away(served: Served) -> None:
    with client(served) as api:
        job_id = submitted(api)
        child(served, "api").kill()
    with client(served) as api:
        assert status(api, job_id) in ("queued", "processing", "completed")


def test_a_database_that_dies_is_started_again_and_no_job_is_lost(served: Served) -> None:
    with client(served) as api:
        made = [submitted(api) for _ in range(3)]
        psutil.Process(postmaster(served.data)).kill()

        def all_done() -> bool:
            return all(api.get(f"/jobs/{job_id}").json().get("status") == "completed" for job_id in made)

        print(f"three jobs done {until(all_done, 60):.2f} s after the database was killed")
        charged = charges(served)  # of other tests' jobs too
        assert [charged.count(job_id) for job_id in made] == [1, 1, 1]


def test_a_second_server_on_the_same_folder_says_so(served: Served) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "easel", "serve", "--port", "0"],
        env=os.environ | {"EASEL_DATA": str(served.data), "EASEL_MODELS": "null"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode != 0
    assert f"running on the data folder {str(served.data)!r}" in second.stderr
    assert httpx.get(f"{served.url}/healthz").status_code == 200


def test_a_server_killed_in_every_part_ends_all_accepted_jobs_after_a_restart(data_folder: Path) -> None:
    with serving(data_folder, EASEL_NULL_STEP_SECONDS="0.05") as served, client(served) as api:
        made = [submitted(api) for _ in range(10)]
        until(lambda: status(api, made[1]) != "queued", 20)
        parts = [child(served, "work"), child(served, "api"), psutil.Process(postmaster(served.data))]
        for process in (*parts, served.process):
            process.kill()
        served.process.wait()
    with serving(data_folder) as served, client(served) as api:
        begun = time.monotonic()
        until(lambda: all(status(api, job_id) == "completed" for job_id in made), 30)
        print(f"all ten done {time.monotonic() - begun:.2f} s after the restart")
        assert sorted(charges(served)) == sorted(made)


def test_a_server_stops_within_ten_seconds_in_mid_job_and_shows_its_token_once(data_folder: Path) -> None:
    with serving(data_folder, EASEL_NULL_STEP_SECONDS="3") as served:
        first = served.token
        said = json.loads((served.data / "server.json").read_text())
        assert said == {"url": served.url, "token": first, "pid": served.process.pid}
        assert (served.data / "server.json").stat().st_mode & 0o077 == 0
        with client(served) as api:
            job_id = submitted(api)
            until(lambda: status(api, job_id) == "processing", 20)
        begun = time.monotonic()
        served.process.terminate()
        assert served.process.wait(20) == 0
        print(f"stopped after {time.monotonic() - begun:.2f} s")
    assert not (served.data / "server.json").exists()
    assert first in (data_folder / "serve.log").read_text()
    with serving(data_folder) as served:
        processes = [child(served, "work"), child(served, "api")]
        assert served.token == first
        served.process.kill()
        served.process.wait()
        _, alive = psutil.wait_procs(processes, timeout=10)
        assert not alive, "the processes of a killed supervisor must end by themselves"
    assert first not in (data_folder / "serve.log").read_text()
