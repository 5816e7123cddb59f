"""Ground: ids, secrets and file keys."""

import hashlib
import re
import secrets
from uuid import UUID, uuid4

FILE_KEY = re.compile(r"[0-9a-f]{40}\.[a-z]{3,4}")
FILE_URL = re.compile(rf"https?://[^?#]+/files/({FILE_KEY.pattern})")


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


def same_file_key(data: bytes, owner: UUID, extension: str) -> str:
    """As hard to guess, but the same whenever the same owner sends the same bytes."""
    return f"{hashlib.blake2b(data, key=owner.bytes, digest_size=20).hexdigest()}.{extension}"


def file_key(url: str) -> str | None:
    """The key in the URL of a file, whatever its host: the blobs know whether the file is ours."""
    found = FILE_URL.fullmatch(url)
    return found[1] if found else None
