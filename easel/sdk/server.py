"""Where the server is: what was said, else the environment, else the one that runs on this machine."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import httpx

from easel.errors import Unauthorized, Unreachable


class Server(NamedTuple):
    """A server and the right to use it."""

    url: str
    token: str

    def sign(self, request: httpx.Request) -> httpx.Request:
        """`request` with the token, as httpx's `auth` wants it."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def find(url: str | None = None, token: str | None = None) -> Server:
    """The server to talk to, or raise what to set so that there is one."""
    url = url or os.environ.get("KREA_BASE_URL")
    token = token or os.environ.get("KREA_API_KEY") or os.environ.get("KREA_API_TOKEN")
    if not url:
        server = local()
        if not server:
            raise Unreachable("No server runs here: start one with `easel serve`, or set KREA_BASE_URL.")
        return server
    if not token:
        raise Unauthorized(
            f"There is no token for {url}: set KREA_API_KEY; `easel token create NAME` makes one."
        )
    return Server(url.rstrip("/"), token)


def is_named() -> bool:
    """Whether the environment names a server."""
    return bool(os.environ.get("KREA_BASE_URL"))


def local() -> Server | None:
    """The server that `easel serve` runs on this machine for the same data folder, if it runs."""
    try:
        said = json.loads((data_folder() / "server.json").read_text())
        os.kill(said["pid"], 0)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Server(said["url"], said["token"])


def data_folder() -> Path:
    """The data folder as `Settings` has it, which needs the server's packages; the client alone does not."""
    return Path(os.environ.get("EASEL_DATA", "~/.local/share/easel")).expanduser()
