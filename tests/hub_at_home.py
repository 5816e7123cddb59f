"""A hub on this machine, as far as huggingface_hub asks one for a model."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from huggingface_hub import HfApi

COMMIT = "c0ffee00" * 5


class Hub(BaseHTTPRequestHandler):
    """Answers out of the folders of `models`, but for those that are gated."""

    protocol_version = "HTTP/1.1"
    models: dict[str, Path]
    gated: tuple[str, ...]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/api/models")
        name = "/".join(path.split("/")[1:3])
        rest = path.removeprefix(f"/{name}").strip("/")
        if name not in self.models:
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        if name in self.gated:
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
        folder = self.models[name]
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        kind, *_ = rest.split("/")
        if kind == "resolve":
            data = (folder / rest.removeprefix(f"resolve/{COMMIT}/")).read_bytes()
            self.answer(200, data, {"ETag": f'"{digest(data)}"', "X-Repo-Commit": COMMIT})
        elif kind == "tree":
            self.tell(
                [
                    {"type": "file", "path": path, "size": len(data), "oid": digest(data)}
                    for path, data in ((str(f.relative_to(folder)), f.read_bytes()) for f in files)
                ]
            )
        else:  # about the model, or whether it may be had
            told = [{"rfilename": str(f.relative_to(folder)), "size": f.stat().st_size} for f in files]
            self.tell({"id": name, "sha": COMMIT, "siblings": told})

    do_HEAD = do_GET

    def tell(self, what: Any) -> None:
        self.answer(200, json.dumps(what).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextmanager
def hub_of(models: dict[str, Path], cache: Path, *gated: str) -> Iterator[Any]:
    """The true client of a hub with these models, which keeps what it fetches in `cache`."""
    kind = type("Hub", (Hub,), {"models": models, "gated": gated})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api = HfApi(endpoint=f"http://127.0.0.1:{server.server_port}")
    try:
        yield SimpleNamespace(
            auth_check=api.auth_check,
            model_info=api.model_info,
            snapshot_download=partial(api.snapshot_download, cache_dir=cache),
        )
    finally:
        server.shutdown()
        server.server_close()
