"""Ground: webhook signatures after the Standard Webhooks specification."""

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook


def new_webhook_secret() -> str:
    """A new signing secret, in the form that verifying libraries take."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def signed_headers(signing_secrets: Sequence[str], message_id: str, body: str) -> dict[str, str]:
    """The headers that prove `body` ours to whoever holds one of the secrets."""
    now = datetime.now(UTC)
    signatures = [Webhook(secret).sign(message_id, now, body) for secret in signing_secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
        "content-type": "application/json",
    }
