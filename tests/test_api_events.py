"""A job followed as server-sent events. Alone: python -m pytest tests/test_api_events.py"""

import json
from collections.abc import Iterator
from typing import Any

from answering import Api, picture


def told(lines: Iterator[str]) -> Iterator[tuple[int, str, Any]]:
    """The events in a stream that have an id: it, name and data."""
    event: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        else:
            if "id" in event:
                yield int(event["id"]), event["event"], json.loads(event["data"])
            event = {}


def test_a_job_is_followed_from_its_first_step_to_its_end(api: Api) -> None:
    job = api.submit()
    with api.client.stream("GET", f"/jobs/{job['job_id']}/events") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        stream = told(answer.iter_lines())
        claim, entry = api.begin(job)
        api.step(claim, 1)
        assert next(stream)[1:] == (
            "progress",
            {"step": 1, "total": 8, "preview": "data:image/jpeg;base64,AAAA"},
        )
        api.step(claim, 2)
        assert next(stream)[2]["step"] == 2
        api.complete(claim, entry, picture())
        [(_, name, ended)] = stream
        assert name == "completed"
    assert ended == api.client.get(f"/jobs/{job['job_id']}").json()


def test_a_client_that_comes_back_goes_on_where_it_was(api: Api) -> None:
    job = api.submit()
    claim, entry = api.begin(job)
    for step in (1, 2, 3):
        api.step(claim, step)
    api.fail(claim, entry)
    path = f"/jobs/{job['job_id']}/events"
    all_of_it = list(told(iter(api.client.get(path).text.splitlines())))
    assert [name for _, name, _ in all_of_it] == ["progress", "progress", "progress", "failed"]
    assert all_of_it[3][2]["error"] == {"code": "engine_error", "message": "out of paint"}
    rest = api.client.get(path, headers={"Last-Event-ID": str(all_of_it[1][0])})
    assert list(told(iter(rest.text.splitlines()))) == all_of_it[2:]
    nothing = api.client.get(path, headers={"Last-Event-ID": str(all_of_it[3][0])})
    assert nothing.text == ""


def test_the_end_of_a_cancelled_job_is_told(api: Api) -> None:
    job = api.submit()
    with api.client.stream("GET", f"/jobs/{job['job_id']}/events") as answer:
        api.client.delete(f"/jobs/{job['job_id']}")
        [(_, name, ended)] = told(answer.iter_lines())
    assert (name, ended["status"]) == ("cancelled", "cancelled")


def test_an_event_id_that_is_none_of_ours_is_400(api: Api) -> None:
    job = api.submit()
    answer = api.client.get(f"/jobs/{job['job_id']}/events", headers={"Last-Event-ID": "last"})
    assert answer.status_code == 400
    assert answer.json()["details"][0]["path"] == ["Last-Event-ID"]
