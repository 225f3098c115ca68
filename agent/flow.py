"""The records of a frame on its way: Frame, Decision, Answer, Result, Delivery; its one Fate. No state."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
"""One picture: shape (height, width, 3), uint8, BGR as OpenCV has it."""
UNTRACKED: Final = -1
"""The tracker id of an object that belongs to no confirmed track, as in the libraries supervision and trackers."""


class Route(str, Enum):
    """Where a frame's answer comes from."""

    LOCAL = "local"
    CLOUD = "cloud"


class Reason(str, Enum):
    """Why the router decided so: the closed vocabulary of logs, counters and results."""

    P_OK = "p_ok"
    P_LOW_BANDWIDTH = "p_low_bandwidth"
    P_LOW_RTT = "p_low_rtt"
    P_LOW_SERVER = "p_low_server"
    NO_EVIDENCE = "no_evidence"
    UPLINK_BUSY = "uplink_busy"
    STALLED = "stalled"
    DEAD = "dead"
    INFLIGHT_FULL = "inflight_full"
    BUDGET_DATA = "budget_data"
    BUDGET_CREDITS = "budget_credits"
    HTTP_AUTH = "http_auth"
    HTTP_RATE_LIMITED = "http_rate_limited"
    HTTP_ERROR = "http_error"
    LOCAL_ONLY = "local_only"
    CLOUD_ONLY = "cloud_only"
    LOCAL_OVERLOADED = "local_overloaded"
    PROBE = "probe"


class Fate(str, Enum):
    """How a captured frame ended; each has exactly one."""

    OVERWRITTEN = "overwritten"
    SKIPPED = "skipped"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured picture and when it was taken."""

    camera: str
    seq: int
    captured_s: float
    """Monotonic seconds."""
    captured_wall_s: float
    """Seconds since the epoch, as data only."""
    clock_synchronized: bool
    pixels: Pixels = field(repr=False)

    @property
    def width(self) -> int:
        """Pixels across."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels down."""
        return int(self.pixels.shape[0])


class Task(str, Enum):
    """What a model does, in the hosted platform's words for a project's type."""

    OBJECT_DETECTION = "object-detection"
    INSTANCE_SEGMENTATION = "instance-segmentation"
    KEYPOINT_DETECTION = "keypoint-detection"
    CLASSIFICATION = "classification"
    MULTI_LABEL_CLASSIFICATION = "multi-label-classification"
    SEMANTIC_SEGMENTATION = "semantic-segmentation"


@dataclass(frozen=True, slots=True)
class Keypoint:
    """One named point of an object, in pixels of the captured frame."""

    x: float
    y: float
    confidence: float
    class_name: str
    class_id: int


@dataclass(frozen=True, slots=True)
class Runs:
    """A mask in COCO's compressed run lengths: column by column, background first."""

    height: int
    """Of the picture that the mask covers: the captured frame."""
    width: int
    counts: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """One detected object, as the hosted API gives it: centre, size and pixels of the captured frame.

    A class of the whole picture, as classification has it, is an object as large as the picture.
    """

    x: float
    y: float
    width: float
    height: float
    confidence: float
    class_name: str
    class_id: int
    tracker_id: int | None = None
    """The track it belongs to, from 1; UNTRACKED: to none that is confirmed; None: nothing is tracked."""
    points: tuple[tuple[float, float], ...] | None = None
    """Its outline, where the model gives one."""
    runs: Runs | None = None
    """Its mask, where that is asked for in place of the outline."""
    keypoints: tuple[Keypoint, ...] | None = None

    def scaled(self, factor_x: float, factor_y: float) -> "Prediction":
        """The same object in a picture that is `factor` times as large; without its runs, which have one size only."""
        points, keypoints = self.points, self.keypoints
        return replace(
            self,
            x=self.x * factor_x,
            y=self.y * factor_y,
            width=self.width * factor_x,
            height=self.height * factor_y,
            points=None if points is None else tuple((x * factor_x, y * factor_y) for x, y in points),
            runs=None,
            keypoints=None
            if keypoints is None
            else tuple(replace(each, x=each.x * factor_x, y=each.y * factor_y) for each in keypoints),
        )


@dataclass(frozen=True, slots=True)
class Score:
    """What a multi-label classifier gives one of its classes."""

    class_name: str
    class_id: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Regions:
    """Which class each pixel belongs to."""

    mask_png: bytes = field(repr=False)
    """Grey PNG file as large as the captured frame: the class id of each pixel."""
    confidence_png: bytes = field(repr=False)
    """The same with the confidence of each pixel, 0..255."""
    class_names: Mapping[int, str]
    """By class id; 0 is the background."""
    present_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds spent in the parts of one engine run; None where the engine has no such part, or cannot tell."""

    preprocess_s: float | None = None
    inference_s: float | None = None
    postprocess_s: float | None = None
    connect_s: float | None = None
    """Opening a connection (TCP, TLS); 0 over a kept one."""
    upload_s: float | None = None
    """From the first byte of the body until the last was acknowledged."""
    server_s: float | None = None
    """From the last acknowledgement until the answer began."""
    processing_s: float | None = None
    """What the server itself states it took."""
    billed_s: float | None = None
    """What it bills, where that is something else."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of a camera's ladder: how large a picture may be uploaded, and how such a one is made."""

    size_bytes: int
    longest_px: int
    quality: int
    """JPEG quality, 1..100."""
    worth: float
    """Accuracy of the hosted answer to such a picture, as a share of that to the finest, 0..1."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame encoded for upload."""

    data: bytes = field(repr=False)
    width: int
    height: int
    quality: int
    frame_width: int
    frame_height: int
    """The captured frame's, in whose pixels the answer is given."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How one upload stands, by what the other side has acknowledged."""

    at_s: float
    """Monotonic; when the newest of the acknowledged bytes was acknowledged, or now while there is none."""
    acked_bytes: int
    """Of this request's body, since it began."""
    unacked_bytes: int
    """Of this request's body: on the way, or not sent yet."""
    rtt_s: float
    """Round trip of the path, without the time that the request's own bytes wait in queues."""
    metered_bytes: int
    """All that this request cost so far, both ways: headers, TLS and retransmissions included."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the router expected of a request, and on how much it built that: weighted medians."""

    rtt_s: float
    upload_s: float
    server_s: float
    uplink_mbit_s: float
    evidence: int
    """Requests that it goes by."""
    evidence_age_s: float
    """Age of the newest of them."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What uploading costs at this moment, in units of accuracy (1: all of the hosted model's), and what is left."""

    per_mb: float = 0.05
    per_call: float = 0.0
    data_left_bytes: float = float("inf")
    credits_left: float = float("inf")
    data_bytes_s: float = float("inf")
    """The allowance a second; so is the next."""
    credits_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine found in one frame, in the captured frame's pixels."""

    predictions: tuple[Prediction, ...]
    model: str
    engine: str
    timings: Timings
    size_bytes: int | None = None
    """Bytes of the picture that was uploaded."""
    quality: int | None = None
    """JPEG quality of that picture."""
    cold_start: bool = False
    task: Task = Task.OBJECT_DETECTION
    scores: tuple[Score, ...] = ()
    """MULTI_LABEL_CLASSIFICATION: of every class; `predictions` are those that passed."""
    regions: Regions | None = None
    """SEMANTIC_SEGMENTATION: the masks; `predictions` are the boxes around the classes that are there."""
    outputs: Mapping[str, Any] | None = None
    """What else a workflow was asked for, as JSON has it."""


class Hedge(str, Enum):
    """What became of the on-device run that was promised to a frame."""

    NONE = "none"
    """None was promised."""
    NOW = "now"
    """It began at once."""
    LATE = "late"
    """It began when the cloud's answer was still missing shortly before the deadline, or had failed."""
    SKIPPED = "skipped"
    """The cloud answered first."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the router chose for one frame."""

    route: Route
    reason: Reason
    deadline_s: float
    """Monotonic; an answer later than this is stale."""
    local_start_s: float | None
    """Monotonic; when the on-device run starts unless the cloud answered first. None: it never does."""
    p: float | None = None
    """Predicted share of cloud answers that come in time."""
    threshold: float | None = None
    """What p must reach for a frame to be sent."""
    rung: Rung | None = None
    """The picture to upload."""
    outlook: Outlook | None = None
    prices: Prices | None = None
    """None: there is no budget."""
    waits: bool = False
    """Answered here for now, and uploaded yet if the wire is free before a newer frame of its camera comes."""
    prompt: bool = False
    """The first answer is published at once; the cloud's, when it is later, corrects it."""


@dataclass(frozen=True, slots=True)
class Result:
    """One frame's answer, or its failure. Carries no pixels."""

    camera: str
    seq: int
    revision: int
    captured_s: float
    captured_wall_s: float
    clock_synchronized: bool
    width: int
    height: int
    decision: Decision
    fate: Fate
    published: Route | None
    answer: Answer | None
    late: bool
    started_s: float | None
    """Monotonic; when the published engine began."""
    answered_s: float
    """Monotonic; when the answer was there."""
    failure: str | None = None
    hedge: Hedge = Hedge.NONE
    supersedes: int | None = None
    """The revision that this one corrects; None when none was published."""


class Kind(str, Enum):
    """What a delivery tells of."""

    RESULT = "result"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message on its way to a sink: an id that never changes, and the bytes of the record."""

    id: str
    camera: str
    body: bytes = field(repr=False)
    kind: Kind = Kind.RESULT


class Outcome(str, Enum):
    """How a delivery ended at a sink."""

    ACCEPTED = "accepted"
    KEPT = "kept"
    REJECTED = "rejected"
