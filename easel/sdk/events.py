"""Server-sent events, a line at a time, as `GET /jobs/{id}/events` sends them."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    name: str
    data: str
    id: str


@dataclass
class EventReader:
    """Collects lines until a blank one ends the event.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """

    last_id: str = ""  # of the last whole event: sent as Last-Event-ID, a new stream goes on after it
    _fields: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Forget the part of an event that a broken stream has left."""
        self._fields = {}

    def feed(self, line: str) -> Event | None:
        """The event that `line` completes, if it does."""
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data" and "data" in self._fields:
            value = f"{self._fields['data']}\n{value}"
        self._fields[name] = value
        return None

    def _complete(self) -> Event | None:
        fields, self._fields = self._fields, {}
        self.last_id = fields.get("id", self.last_id)
        return (
            Event(fields.get("event", "message"), fields["data"], self.last_id) if "data" in fields else None
        )
