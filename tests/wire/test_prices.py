"""Section 9 of the contract: what a picture costs.

python -m pytest tests/wire/test_prices.py
"""

from typing import Any

import pytest
from answering import Api, picture

from wire.reading import document


@pytest.mark.parametrize(
    ("variant", "amounts"),
    [
        ("medium", [0.03, 0.035, 0.04]),
        ("large", [0.06, 0.065, 0.07]),
        ("medium-turbo", [0.015, 0.0175, 0.02]),
    ],
)
def test_the_document_tells_the_prices(api: Api, variant: str, amounts: list[float]) -> None:
    pricing = document(api)["paths"][f"/generate/image/krea/krea-2/{variant}"]["post"]["x-krea-pricing"]
    tiers = ["text-to-image", "srefs", "moodboards"]
    assert pricing == {
        "type": "fixed",
        "currency": "USD",
        "unit": "request",
        "price_points": [
            {"amount": amount, "dimensions": {"k2BillingTier": tier}}
            for amount, tier in zip(amounts, tiers, strict=True)
        ],
    }


@pytest.mark.parametrize(
    ("variant", "plain", "with_references"),
    [("medium", "0.03", "0.035"), ("large", "0.06", "0.065"), ("medium-turbo", "0.015", "0.0175")],
)
def test_a_job_costs_what_the_document_says_to_the_last_digit(
    api: Api, variant: str, plain: str, with_references: str
) -> None:
    references = [{"url": api.upload(picture())["image_url"]}]

    def cost(**fields: Any) -> str:
        answer = api.client.post(f"/generate/image/krea/krea-2/{variant}", json={"prompt": "a fox", **fields})
        return api.client.get(f"/jobs/{answer.json()['job_id']}/details").json()["cost"]

    assert cost() == cost(image_style_references=[]) == plain
    assert cost(image_style_references=references) == cost(imageStyleRefs=references * 10) == with_references
