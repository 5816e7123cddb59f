"""The processes of further GPUs, which compute each picture together with the one that leads them.

The leader reads the job, encodes prompts and pictures, and tells of steps; the others are sent what the
sampling begins with, and hear after each step whether it goes on.
"""

import io
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import structlog
import torch
import torch.distributed as dist
from torch import Tensor

from easel.catalog import Weights
from easel.engine.order import Order, sampled
from easel.engine.sampler import OnStep
from easel.engine.transformers import Transformers
from easel.engine.voices import KeptVoices, room_beside
from easel.engine.warm import fastest
from easel.errors import CheckpointError, EngineLost
from easel.model.lora import Changes, Style
from easel.model.part import Part
from easel.model.peers import Peers
from easel.model.worn import worn
from easel.process import end_with_parent, log_to_stderr
from easel.schema.generation import MOST_STYLES

log = structlog.get_logger()

TIMEOUT = timedelta(seconds=120)  # of one exchange; the first waits for a compiler
GO, STOP = b"go", b"stop"
SENT = MOST_STYLES + 1  # and the LoRA that reads references


class SentStyles:
    """The styles that were sent last. The leader keeps their names and the others all of them, in the same
    order, so that a style need not be sent with each picture."""

    def __init__(self) -> None:
        self._kept: dict[str, Changes] = {}

    def lightened(self, order: Order) -> Order:
        """The order without what the others have."""
        styles = [s._replace(changes={}) if s.name in self._kept else s for s in order.styles]
        self._keep([style._replace(changes={}) for style in styles])
        return replace(order, styles=styles)

    def restored(self, order: Order) -> Order:
        """The order with what was sent before."""
        styles = [s._replace(changes=self._kept.get(s.name, s.changes)) for s in order.styles]
        self._keep(styles)
        return replace(order, styles=styles)

    def _keep(self, styles: Sequence[Style]) -> None:
        for style in styles:
            self._kept.pop(style.name, None)
            self._kept[style.name] = style.changes
        for name in list(self._kept)[:-SENT]:
            del self._kept[name]


class Several:
    """The leader's hold on the others."""

    def __init__(
        self,
        parts: Mapping[Weights, Part],
        device: torch.device,
        others: Sequence[torch.device],
        compiles: bool,
    ) -> None:
        check_heads(parts, 1 + len(others))
        address, context = f"tcp://127.0.0.1:{free_port()}", get_context("spawn")
        self._others: list[Connection] = []
        self._sent = SentStyles()
        for rank, other in enumerate(others, 1):
            here, there = context.Pipe()
            given = there, address, rank, 1 + len(others), dict(parts), other, compiles
            context.Process(target=follow, args=given, daemon=True).start()
            there.close()  # so that the end of either is noticed
            self._others.append(here)
        self.peers = joined(address, 0, 1 + len(others), device)

    @contextmanager
    def led(self, order: Order, tell: OnStep) -> Iterator[OnStep]:
        """Within the block the others sample the picture too. Gives `tell`, and word for them of whether the
        sampling goes on. Where it ends in another way they wait for what will not come, so they are let go:
        EngineLost, as where one is gone. Out of memory is a picture's own end; the next finds them gone."""
        written, stopped = io.BytesIO(), False
        torch.save(self._sent.lightened(order), written)
        self._send(written.getvalue())

        def told(step: int, tokens: Tensor) -> None:
            nonlocal stopped
            try:
                tell(step, tokens)
            except BaseException:
                stopped = True
                self._send(STOP)
                raise
            self._send(GO)

        try:
            yield told
        except Exception as error:
            if stopped:
                raise
            self._let_go()
            if isinstance(error, EngineLost | torch.OutOfMemoryError):
                raise
            why = str(error).partition("\n")[0]
            raise EngineLost(f"a picture on several GPUs broke off: {type(error).__name__}: {why}") from error

    def _let_go(self) -> None:
        for other in self._others:
            other.close()

    def _send(self, data: bytes) -> None:
        try:
            for other in self._others:
                other.send_bytes(data)
        except OSError:
            raise EngineLost("a process of another GPU is gone: its last words are in the log") from None


class Stopped(Exception):
    """The leader has ended the sampling."""


def follow(
    leader: Connection,
    address: str,
    rank: int,
    size: int,
    parts: Mapping[Weights, Part],
    device: torch.device,
    compiles: bool,
) -> None:
    """Compute pictures with the others until the leader is gone; the log says why it ends."""
    log_to_stderr()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # it ends with its leader
    end_with_parent()
    with parting(device):
        part = next(iter(parts.values()))
        backend = fastest(part.network, part.dtype, device, compiles)
        peers = joined(address, rank, size, device)
        obey(leader, Transformers(parts, device, replace(backend, peers=peers)), next(iter(parts)), device)


@contextmanager
def parting(device: torch.device) -> Iterator[None]:
    """Whatever ends the block, the log says so."""
    try:
        yield
    except (EOFError, ConnectionError):
        log.info("The process of a further GPU ends: its leader has let it go", device=str(device))
    except Exception:
        log.exception("The process of a further GPU ended", device=str(device))


def obey(leader: Connection, transformers: Transformers, first: Weights, device: torch.device) -> None:
    """Load what the leader has loaded, and take part in its pictures. EOFError when it is gone."""
    transformers.take(first)
    voices, sent = KeptVoices(), SentStyles()

    def hear_on(step: int, tokens: Tensor) -> None:
        if leader.recv_bytes() == STOP:
            raise Stopped

    while True:
        try:
            written = io.BytesIO(leader.recv_bytes())
            order = torch.load(written, map_location=device, weights_only=False)
            take_part(transformers, sent.restored(order), voices, hear_on)
        except Stopped:
            continue


@torch.inference_mode()
def take_part(transformers: Any, order: Order, voices: KeptVoices, on_step: OnStep) -> None:
    """Sample a picture with the others."""
    if order.afresh:
        voices.clear()
    transformer = transformers.take(order.weights)
    if order.afresh:
        voices.room = room_beside(transformers)
    with worn(transformer, order.styles):
        sampled(transformer, order, voices, on_step)


def joined(address: str, rank: int, size: int, device: torch.device) -> Peers:
    """This process among the others, once all are there."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    kind = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(kind, init_method=address, rank=rank, world_size=size, timeout=TIMEOUT)
    return Peers(rank, size)


def check_heads(parts: Mapping[Weights, Part], size: int) -> None:
    """CheckpointError unless the heads can be divided among so many."""
    heads = min(part.network.config.num_key_value_heads for part in parts.values())
    if heads % size:
        fit = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
        raise CheckpointError(f"EASEL_DEVICE names {size} GPUs, and {heads} heads are divided among {fit}")


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
