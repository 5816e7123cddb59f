#!/bin/sh
# A picture whose end is told to a receiver.
#
#   KREA_BASE_URL=… KREA_API_TOKEN=… sh webhook.sh https://example.com/hook
set -eu

curl --silent --show-error --fail "$KREA_BASE_URL/generate/image/krea/krea-2/medium-turbo" \
  -H "Authorization: Bearer $KREA_API_TOKEN" -H "Content-Type: application/json" \
  -H "X-Webhook-URL: $1" -d '{"prompt": "a fox on a hill", "aspect_ratio": "1:1", "resolution": "1K"}'
