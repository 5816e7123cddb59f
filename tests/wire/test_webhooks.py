"""Section 7 of the contract, and the deliveries that easel tells beyond it.

python -m pytest tests/wire/test_webhooks.py
"""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from answering import MEDIUM, WEBHOOK_SECRET, Api, picture
from receiving import receiving
from standardwebhooks import Webhook

from wire.reading import A_FOX, TIME, assert_told

DELIVERIES = "/webhooks/deliveries"


def end(api: Api, how: str, url: str) -> dict[str, Any]:
    """A job with a webhook, ended."""
    job = api.submit(webhook_url=url)
    match how:
        case "completed":
            api.complete(*api.begin(job), picture())
        case "failed":
            api.fail(*api.begin(job))
        case "cancelled":
            api.client.delete(f"/jobs/{job['job_id']}")
    return api.client.get(f"/jobs/{job['job_id']}").json()


def listed(api: Api, **query: Any) -> list[dict[str, Any]]:
    answer = api.client.get(DELIVERIES, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
def test_whatever_ends_a_job_its_webhook_is_what_get_jobs_says_signed(api: Api, how: str) -> None:
    with receiving(204) as receiver:
        job = end(api, how, receiver.url)
        api.deliver()
    ((headers, body),) = receiver.messages
    assert job["status"] == how
    assert Webhook(WEBHOOK_SECRET).verify(body, headers) == job
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "url",
    ["fox", "file:///etc/passwd", "http://10.0.0.1/hook", "http://[::1]:80/", "http://169.254.169.254/", ""],
)
def test_a_webhook_url_that_may_not_be_reached_is_422(api: Api, url: str) -> None:
    answer = api.client.post(MEDIUM, json=A_FOX, headers={"X-Webhook-URL": url})
    assert_told(answer, 422, ["X-Webhook-URL"], "X-Webhook-URL")


def test_a_webhook_url_that_may_be_reached_is_taken(api: Api) -> None:
    for url in ("https://8.8.8.8/hook", f"{api.url}/hook"):
        api.submit(webhook_url=url)


def test_a_delivery_tells_where_it_goes_and_how_far_it_has_come(api: Api) -> None:
    with receiving(500, 204) as receiver:
        job = end(api, "cancelled", receiver.url)
        (waiting,) = listed(api)
        assert (waiting["state"], waiting["attempts"], waiting["error"]) == ("pending", 0, None)
        api.deliver()
        (tried,) = listed(api)
        assert (tried["state"], tried["attempts"]) == ("pending", 1)
        assert tried["error"] == "The receiver answered 500"
        assert TIME.fullmatch(tried["next_attempt_at"])
        assert tried["next_attempt_at"] > datetime.now(UTC).isoformat()
        api.client.post(f"{DELIVERIES}/{tried['id']}/resend")
        api.deliver()
    assert api.client.get(f"{DELIVERIES}/{tried['id']}").json() == {
        "id": receiver.messages[0][0]["webhook-id"],
        "job_id": job["job_id"],
        "url": receiver.url,
        "state": "delivered",
        "attempts": 1,
        "error": None,
        "created_at": waiting["created_at"],
        "next_attempt_at": None,
    }


def test_deliveries_are_listed_newest_first_a_page_at_a_time(api: Api) -> None:
    jobs = [end(api, "cancelled", "https://8.8.8.8/hook")["job_id"] for _ in range(5)]
    first = api.client.get(DELIVERIES, params={"limit": 3}).json()
    second = api.client.get(DELIVERIES, params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [item["job_id"] for item in first["items"] + second["items"]] == jobs[::-1]
    assert second["next_cursor"] is None


def test_deliveries_are_listed_by_job_and_by_state(api: Api) -> None:
    with receiving(410) as receiver:
        gone = end(api, "cancelled", receiver.url)
        api.deliver()
    waiting = end(api, "cancelled", "https://8.8.8.8/hook")
    for query, job in [({"job_id": gone["job_id"]}, gone), ({"state": "failed"}, gone)]:
        assert [item["job_id"] for item in listed(api, **query)] == [job["job_id"]]
    assert [item["job_id"] for item in listed(api, state="pending")] == [waiting["job_id"]]
    assert listed(api, state="delivered") == listed(api, job_id=uuid4()) == []


@pytest.mark.parametrize("query", ["limit=0", "cursor=yesterday", "job_id=x", "state=sent"])
def test_a_query_for_deliveries_that_is_not_valid_is_400(api: Api, query: str) -> None:
    field = query.partition("=")[0]
    assert_told(api.client.get(f"{DELIVERIES}?{query}"), 400, [field], field)


@pytest.mark.parametrize("body", [{}, {"json": {}}], ids=["without a body", "with an empty object"])
def test_a_resent_delivery_has_the_same_id_and_body(api: Api, body: dict[str, Any]) -> None:
    with receiving(410, 204) as receiver:
        end(api, "completed", receiver.url)
        api.deliver()
        (failed,) = listed(api)
        answer = api.client.post(f"{DELIVERIES}/{failed['id']}/resend", **body)
        assert answer.status_code == 200
        assert answer.json().items() >= {"id": failed["id"], "state": "pending", "attempts": 0}.items()
        api.deliver()
    (first, second) = receiver.messages
    assert first[1] == second[1]
    assert first[0]["webhook-id"] == second[0]["webhook-id"] == failed["id"]
    assert listed(api)[0]["state"] == "delivered"
