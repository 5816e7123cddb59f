"""Ground: ids, secrets and file keys."""

import hashlib
import secrets
from uuid import UUID, uuid4


def new_id() -> UUID:
    """A new id of a row."""
    return uuid4()


def new_secret() -> str:
    """256 random bits, safe in a URL and in a header."""
    return secrets.token_urlsafe(32)


def secret_hash(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def new_file_key(extension: str) -> str:
    """A name that nobody can guess for a public file: `new_file_key("png")`."""
    return f"{secrets.token_hex(20)}.{extension}"
