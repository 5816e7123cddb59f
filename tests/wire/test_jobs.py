"""Section 3 of the contract, and rules 4 to 6, 10 and 11: reading, listing and cancelling jobs.

python -m pytest tests/wire/test_jobs.py
"""

import re
from typing import get_args

import httpx
import pytest
from answering import Api, picture

from easel.schema.jobs import Status
from wire.reading import TIME, assert_told


def test_a_job_has_no_result_before_its_end(api: Api) -> None:
    job = api.submit()
    claim, _ = api.begin(job)
    api.step(claim, 1)
    read = api.client.get(f"/jobs/{job['job_id']}").json()
    assert read == {**job, "status": "processing"}


def test_a_finished_job_has_plain_urls_that_anybody_can_download(api: Api) -> None:
    job = api.submit()
    api.complete(*api.begin(job), picture())
    read = api.client.get(f"/jobs/{job['job_id']}").json()
    assert read.keys() == job.keys()
    assert read["status"] == "completed"
    assert TIME.fullmatch(read["completed_at"])
    [url] = read["result"]["urls"]
    file = httpx.get(url)
    assert file.content == picture()
    assert file.headers["Access-Control-Allow-Origin"] == "*"
    assert len(re.findall(r"[0-9a-f]", url.rpartition("/")[2].partition(".")[0])) * 4 >= 128


def test_a_failed_job_says_why_at_the_top_and_only_there(api: Api) -> None:
    job = api.submit()
    api.fail(*api.begin(job))
    read = api.client.get(f"/jobs/{job['job_id']}").json()
    assert read["status"] == "failed"
    assert read["error"] == {"code": "engine_error", "message": "out of paint"}
    assert read["result"] is None


def test_a_cancelled_job_reads_cancelled_and_cancelling_again_changes_nothing(api: Api) -> None:
    job = api.submit()
    first = api.client.delete(f"/jobs/{job['job_id']}")
    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert api.client.delete(f"/jobs/{job['job_id']}").json() == first.json()
    assert api.client.get(f"/jobs/{job['job_id']}").json() == first.json()


def test_cancelling_a_job_that_has_ended_changes_nothing(api: Api) -> None:
    job = api.submit()
    api.complete(*api.begin(job), picture())
    done = api.client.get(f"/jobs/{job['job_id']}").json()
    answer = api.client.delete(f"/jobs/{job['job_id']}")
    assert (answer.status_code, answer.json()) == (200, done)


def test_failed_and_cancelled_jobs_are_not_billed(api: Api) -> None:
    completed = api.submit()
    api.complete(*api.begin(completed), picture())
    failed = api.submit()
    api.fail(*api.begin(failed))
    cancelled = api.submit()
    api.client.delete(f"/jobs/{cancelled['job_id']}")
    jobs = [job["job_id"] for job in (completed, failed, cancelled)]
    charged = [api.client.get(f"/jobs/{job}/details").json()["charged"] for job in jobs]
    assert charged == [True, False, False]


def test_an_answer_about_a_job_is_small_and_comes_without_redirects(api: Api) -> None:
    job = api.submit(prompt="a" * 5000)
    answer = api.client.get(f"/jobs/{job['job_id']}")
    assert answer.status_code == 200
    assert len(answer.content) < 64 * 1024
    assert api.client.get("/jobs/").status_code == 404


def test_jobs_are_listed_newest_first_a_page_at_a_time(api: Api) -> None:
    made = [api.submit(prompt=f"fox {number}")["job_id"] for number in range(5)]
    first = api.client.get("/jobs?limit=3").json()
    second = api.client.get("/jobs", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [job["job_id"] for job in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None


def test_jobs_are_listed_by_status_and_type(api: Api) -> None:
    job = api.submit()
    api.client.post("/generate/image/krea/krea-2/large", json={"prompt": "a fox"})
    api.client.delete(f"/jobs/{job['job_id']}")

    def listed(**query: str) -> int:
        return len(api.client.get("/jobs", params=query).json()["items"])

    assert [listed(status=status) for status in ("queued", "cancelled", "sampling")] == [1, 1, 0]
    assert sum(listed(status=status) for status in get_args(Status)) == 2
    assert [listed(types=types) for types in ("medium", "large,medium", "flux,k1", "\0")] == [1, 2, 0, 0]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=yesterday", "cursor"),
        ("cursor=0.5", "cursor"),
        ("status=done", "status"),
    ],
)
def test_a_query_that_is_not_valid_is_400(api: Api, query: str, field: str) -> None:
    assert_told(api.client.get(f"/jobs?{query}"), 400, [field], field)


@pytest.mark.parametrize("limit", [1, 1000])
def test_the_bounds_of_a_page_are_taken(api: Api, limit: int) -> None:
    assert api.client.get("/jobs", params={"limit": limit}).status_code == 200


@pytest.mark.parametrize(
    "cursor", ["2026-01-01T00:00:00", "2026-01-01", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"]
)
def test_any_time_is_a_cursor(api: Api, cursor: str) -> None:
    assert api.client.get("/jobs", params={"cursor": cursor}).status_code == 200


def test_what_the_contract_has_no_room_for_is_told_under_details(api: Api) -> None:
    job = api.submit(seed=7)
    api.complete(*api.begin(job), picture())
    told = api.client.get(f"/jobs/{job['job_id']}/details").json()
    assert (told["seed"], told["prompt"], told["expanded_prompt"]) == (7, "a fox", "a red fox")
    assert (told["cost"], told["engine"], told["checkpoint"]) == ("0.03", "null", "null-1")
