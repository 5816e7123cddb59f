"""Server-sent events, a line at a time, as `GET /jobs/{id}/events` sends them."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    name: str
    data: str
    id: str | None  # send it back as Last-Event-ID to go on after this event


@dataclass
class EventReader:
    """Collects lines until a blank one ends the event.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """

    last_id: str | None = None
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, line: str) -> Event | None:
        """The event that `line` completes, if it does."""
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self.last_id = value
        return None

    def _dispatch(self) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data = "", []
        return Event(name or "message", "\n".join(data), self.last_id) if data else None
