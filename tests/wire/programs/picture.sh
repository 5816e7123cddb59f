#!/bin/sh
# A picture in the look of another: upload, ask, wait, fetch.
#
#   KREA_BASE_URL=… KREA_API_TOKEN=… sh picture.sh look.png picture.png
set -eu

krea() { curl --silent --show-error --fail -H "Authorization: Bearer $KREA_API_TOKEN" "$@"; }
field() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p"; }

look=$(krea "$KREA_BASE_URL/assets" -F "file=@$1" -F "description=a look" | field image_url)

job=$(krea "$KREA_BASE_URL/generate/image/krea/krea-2/medium" -H "Content-Type: application/json" -d '{
  "prompt": "a fox on a hill",
  "aspect_ratio": "3:2",
  "resolution": "1K",
  "image_style_references": [{"url": "'"$look"'", "strength": 0.6}]
}' | field job_id)

status=queued
while [ "$status" != completed ]; do
  sleep 0.2
  answer=$(krea "$KREA_BASE_URL/jobs/$job")
  status=$(echo "$answer" | field status)
  case $status in failed | cancelled) echo "$answer" >&2 && exit 1 ;; esac
done

curl --silent --show-error --fail -o "$2" "$(echo "$answer" | sed 's/.*"urls" *: *\["\([^"]*\)".*/\1/')"
