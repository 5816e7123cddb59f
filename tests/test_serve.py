"""`easel serve` as a whole, killed and stopped. Alone: python -m pytest tests/test_serve.py"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
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
        "    print(*(row[0] for row in await connection.fetch('SELECT job_id FROM ledger')))\n"
        "    await connection.close()\n"
        "asyncio.run(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(served.data)], capture_output=True, check=True, text=True
    )
    return done.stdout.split()


def test_a_worker_that_dies_is_replaced_and_its_job_runs_again(data_folder: Path) -> None:
    with serving(data_folder, EASEL_NULL_STEP_SECONDS="0.3") as served, client(served) as api:
        job_id = submitted(api)
        until(lambda: status(api, job_id) == "processing", 20)
        child(served, "work").kill()
        killed = time.time()
        until(lambda: status(api, job_id) == "completed", 30)
        print(f"completed {time.time() - killed:.2f} s after the kill, of which 2.4 s are its steps")
        assert charges(served) == [job_id]


def test_an_api_process_that_dies_is_replaced_and_nobody_is_turned_away(data_folder: Path) -> None:
    with serving(data_folder) as served, client(served) as api:
        job_id = submitted(api)
        child(served, "api").kill()
        with client(served) as other:
            assert status(other, job_id) in ("queued", "processing", "completed")


def test_a_server_killed_in_every_part_ends_all_accepted_jobs_after_a_restart(data_folder: Path) -> None:
    with serving(data_folder, EASEL_NULL_STEP_SECONDS="0.05") as served, client(served) as api:
        made = [submitted(api) for _ in range(10)]
        until(lambda: status(api, made[1]) == "processing", 20)
        postmaster = int((served.data / "postgres" / "postmaster.pid").read_text().split()[0])
        for process in (child(served, "work"), child(served, "api"), psutil.Process(postmaster)):
            process.kill()
        served.process.kill()
        served.process.wait()
    (data_folder / "ready.json").unlink()
    with serving(data_folder) as served, client(served) as api:
        begun = time.monotonic()
        until(lambda: all(status(api, job_id) == "completed" for job_id in made), 30)
        print(f"all ten done {time.monotonic() - begun:.2f} s after the restart")
        assert sorted(charges(served)) == sorted(made)


def test_a_server_killed_alone_takes_its_processes_with_it(data_folder: Path) -> None:
    with serving(data_folder) as served:
        processes = [child(served, "work"), child(served, "api")]
        served.process.kill()
        served.process.wait()
        psutil.wait_procs(processes, timeout=10)
        assert not any(process.is_running() for process in processes)
    (data_folder / "ready.json").unlink()
    with serving(data_folder) as served, client(served) as api:
        assert api.get("/jobs").status_code == 200


def test_a_second_server_on_the_same_folder_says_so(data_folder: Path) -> None:
    with serving(data_folder) as served:
        second = subprocess.run(
            [sys.executable, "-m", "easel", "serve", "--port", "0"],
            env=os.environ | {"EASEL_DATA": str(served.data), "EASEL_MODELS": "null"},
            capture_output=True,
            text=True,
        )
        assert second.returncode != 0
        assert f"running on the data folder {str(served.data)!r}" in second.stderr
        assert httpx.get(f"{served.url}/healthz").status_code == 200


def test_a_server_stops_cleanly_and_shows_its_token_once(data_folder: Path) -> None:
    with serving(data_folder) as served:
        first = served.token
        said = json.loads((served.data / "server.json").read_text())
        assert said == {"url": served.url, "token": first, "pid": served.process.pid}
        assert (served.data / "server.json").stat().st_mode & 0o077 == 0
    assert served.process.returncode == 0
    assert not (served.data / "server.json").exists()
    assert first in (data_folder / "serve.log").read_text()
    (data_folder / "ready.json").unlink()
    with serving(data_folder) as served:
        assert served.token == first
    assert first not in (data_folder / "serve.log").read_text()


def test_a_sigterm_is_obeyed_within_ten_seconds_in_mid_job(data_folder: Path) -> None:
    with serving(data_folder, EASEL_NULL_STEP_SECONDS="3") as served, client(served) as api:
        job_id = submitted(api)
        until(lambda: status(api, job_id) == "processing", 20)
        begun = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(timeout=20)
        print(f"stopped after {time.monotonic() - begun:.2f} s")
        assert time.monotonic() - begun < 12
