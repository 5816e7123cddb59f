"""Pictures for schemathesis, which cannot invent them: as files, and by URL."""

import base64
import io

import schemathesis
from hypothesis import strategies
from PIL import Image

buffer = io.BytesIO()
Image.new("RGB", (8, 8), "orange").save(buffer, "PNG")
picture = buffer.getvalue()

schemathesis.openapi.format("binary", strategies.just(picture))
schemathesis.openapi.format(
    "uri", strategies.just("data:image/png;base64," + base64.b64encode(picture).decode())
)
