"""Every error the agent raises, with its policy as data. Translated once, in the plugin that meets the library's own.

error              raised by          handled by           what happens
-----------------  -----------------  -------------------  ---------------------------------------------
ConfigError        config, plugins    cli                  exit 78; systemd does not restart
SourceLost         a source           supervisor           reopened within seconds, others go on
SourceAbsent       a source           supervisor           looked for every second
SourceBroken       a source           supervisor           reopened within seconds, as SourceLost
SourceCrashed      isolation          supervisor           reopened ever more rarely
SourceRefused      a source           supervisor           reopened every minute
LibraryMissing     a reader           isolation            another Python is tried, else as ConfigError
SourceEnded        a source           supervisor           the camera is done; the last one ends the run
FrameUnreadable    a source           pipeline             counted, the next frame is read
EngineUnavailable  an engine          pipeline, link       counts against the link; the local run answers
EngineRefused      an engine          pipeline, router     the cloud is closed for minutes
EngineBroken       an engine          app, pipeline        ends the start; later, a failed frame
EngineUnwanted     a lane             lane                 an engine's opening ends with the agent
SinkUnavailable    a sink             supervisor, outbox   results are kept, back-off
SinkTakenOver      a sink             supervisor           the same, and a minute's pause at least
ChartError         chart              explain, simulator   words and tables without a picture
CommandRefused     remote             remote               nothing is done; the answer says why
CommandFailed      remote             remote               it was begun; the answer says how it ended
"""

from enum import Enum


class Cause(str, Enum):
    """What went wrong with a request or a delivery: the words of logs, counters and results."""

    AUTH = "auth"
    CREDITS = "credits"
    PAUSED = "paused"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    SERVER = "server"
    BAD_REQUEST = "bad_request"
    BAD_ANSWER = "bad_answer"
    CAPTIVE_PORTAL = "captive_portal"
    DNS = "dns"
    TLS = "tls"
    TLS_EXPIRED = "tls_expired"
    TLS_HOST = "tls_wrong_host"
    CONNECT = "connect"
    TIMEOUT = "timeout"
    NETWORK = "network"
    DISK = "disk"
    MODEL = "model"


class AgentError(Exception):
    """The root: a sentence that tells a person what was wrong and what to do."""


class ConfigError(AgentError):
    """The configuration cannot be used. `problems` holds one sentence for each mistake."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class LibraryMissing(ConfigError):
    """This Python has not what is needed to read the camera."""


class SourceError(AgentError):
    """A camera could not give a frame."""


class SourceLost(SourceError):
    """The camera is gone for now: reopen it later."""

    least_pause_s = 0.0
    """Trying again sooner would do harm."""


class SourceAbsent(SourceLost):
    """There is nothing to be opened: no device, nobody at that address. To look again costs next to nothing."""


class SourceBroken(SourceLost):
    """The camera is there and gives nothing of use. One that is starting does so for a while."""


class SourceCrashed(SourceLost):
    """What reads the camera has ended without a word, or lacks what a person must bring. To try again seldom helps."""


class SourceRefused(SourceLost):
    """The camera says no: a wrong password. Cameras lock out those who try too often."""

    least_pause_s = 60.0


class SourceEnded(SourceError):
    """There are no more frames, as intended."""


class FrameUnreadable(SourceError):
    """This one frame cannot be decoded; the next one may."""


class EngineError(AgentError):
    """An engine could not answer for a frame."""

    metered_bytes = 0
    """What it cost to find out, where no upload's readings tell."""
    processing_s: float | None = None
    """What the server states it took to fail."""

    def __init__(self, message: str, cause: Cause) -> None:
        super().__init__(message)
        self.cause = cause


class EngineUnavailable(EngineError):
    """No answer this time: time-out, DNS, 5xx, 429. Trying again later is right."""

    def __init__(self, message: str, cause: Cause, *, retry_after_s: float | None = None) -> None:
        super().__init__(message, cause)
        self.retry_after_s = retry_after_s


class EngineRefused(EngineError):
    """The server said no, and will again: key, credits, project or size. Needs a person."""


class EngineBroken(EngineError):
    """The on-device model cannot be loaded or run."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Cause.MODEL)


class EngineUnwanted(AgentError):
    """The agent stops: an engine that is opening need not go on. What it has begun must end at once."""


class SinkError(AgentError):
    """A sink could not take results."""


class SinkUnavailable(SinkError):
    """Not now: broker down, disk full. The results stay in the outbox."""

    least_pause_s = 0.0
    """Trying again sooner would do harm."""

    def __init__(self, message: str, cause: Cause = Cause.NETWORK) -> None:
        super().__init__(message)
        self.cause = cause


class SinkTakenOver(SinkUnavailable):
    """Another client goes by our name: each new connection of ours throws that one out, and it us."""

    least_pause_s = 60.0


class ChartError(AgentError):
    """There is no picture: Matplotlib is absent, or the file may not or cannot be written."""


class CommandRefused(AgentError):
    """A command from afar is not carried out: who sent it is told why, and what is allowed."""


class CommandFailed(AgentError):
    """A command from afar was begun and did not come to its end."""
