"""The whole error tree, raised by server, worker and SDK alike.

EaselError
├── HTTPError                   answered by the API, raised again by the SDK
│   ├── BadRequest              400
│   ├── Unauthorized            401
│   ├── PaymentRequired         402
│   ├── Forbidden               403
│   ├── NotFound                404
│   ├── PayloadTooLarge         413
│   ├── Unprocessable           422
│   ├── TooManyRequests         429
│   └── Unavailable             503
├── JobError                    why a job did not complete
│   ├── ReferenceUnreadable     reference_unreadable
│   ├── UnsafePrompt            safety_filter
│   ├── UnsafePicture           nsfw
│   ├── SafetyUnavailable       safety_unavailable
│   ├── EngineError             engine_error
│   ├── JobTimeout              timeout
│   └── Cancelled               cancelled, or taken over by another worker
├── EngineLost                  this process paints no more, and a new one may: the job is not at fault
├── CheckpointError             a checkpoint folder that cannot be loaded
├── Unfiltered                  Krea's weights would be served without a content filter
├── StyleError                  a file that is no style for the models here
├── NoAnswer                    a language model that gives nothing to go by
├── OutboundError               a URL that may not, or cannot, be reached
├── PictureError                bytes that are no picture we accept
├── DataFolderBusy              another server owns the data folder
├── DatabaseFailed              the database does not start, or cannot be reached
├── AddressInUse                another program listens where the server should
└── Unreachable                 a server that does not answer its client
"""

from typing import Any, ClassVar


class EaselError(Exception):
    """Something went wrong in easel."""

    def __init__(self, message: str = "") -> None:
        self.message = message or type(self).__doc__ or ""
        super().__init__(self.message)


class HTTPError(EaselError):
    """The request could not be served."""

    status: ClassVar[int] = 500

    def __init__(self, message: str = "", details: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.details = details


class BadRequest(HTTPError):
    """The request is not valid."""

    status = 400


class Unauthorized(HTTPError):
    """Unauthorized"""

    status = 401


class PaymentRequired(HTTPError):
    """The balance is insufficient: top it up."""

    status = 402


class Forbidden(HTTPError):
    """It is not yours to change."""

    status = 403


class NotFound(HTTPError):
    """There is nothing here, or it is not yours."""

    status = 404


class PayloadTooLarge(HTTPError):
    """The body is too large."""

    status = 413


class Unprocessable(HTTPError):
    """The request is well formed but cannot be carried out."""

    status = 422


class TooManyRequests(HTTPError):
    """Too many requests: wait, then try again."""

    status = 429

    def __init__(
        self,
        message: str = "",
        details: list[dict[str, Any]] | None = None,
        *,
        maximum: int = 0,
        wait: int = 1,  # seconds
    ) -> None:
        super().__init__(message, details)
        self.maximum = maximum
        self.wait = wait


class Unavailable(HTTPError):
    """The service is not available at the moment: try again shortly."""

    status = 503


class JobError(EaselError):
    """The job could not be completed."""

    code: ClassVar[str] = "engine_error"


class ReferenceUnreadable(JobError):
    """A reference image could not be read."""

    code = "reference_unreadable"


class UnsafePrompt(JobError):
    """The prompt asks for something that is not painted."""

    code = "safety_filter"


class UnsafePicture(JobError):
    """The picture shows something that is not kept."""

    code = "nsfw"


class SafetyUnavailable(JobError):
    """The safety filter does not answer, so nothing was painted: try again shortly."""

    code = "safety_unavailable"


class EngineError(JobError):
    """The engine could not paint the picture."""

    code = "engine_error"


class JobTimeout(JobError):
    """The picture was not ready within the time limit."""

    code = "timeout"


class Cancelled(JobError):
    """The job was cancelled, or another worker has taken it over."""

    code = "cancelled"


class EngineLost(EaselError):
    """The engine can paint nothing more in this process."""


class CheckpointError(EaselError):
    """The checkpoint cannot be loaded."""


class Unfiltered(EaselError):
    """Krea's weights are not served without a content filter."""


class StyleError(EaselError):
    """The file is no style that can be used here."""


class NoAnswer(EaselError):
    """The language model gave no answer."""


class OutboundError(EaselError):
    """The address cannot be reached."""


class PictureError(EaselError):
    """The bytes are not a picture that can be used."""


class DataFolderBusy(EaselError):
    """Another easel server is running on this data folder."""


class Unreachable(EaselError):
    """The server does not answer."""


class DatabaseFailed(EaselError):
    """The database does not start, or cannot be reached."""


class AddressInUse(EaselError):
    """Another program listens on this address."""
