"""What each reason of the router says to a person, and what that person can do. No state."""

from dataclasses import dataclass

import numpy as np

from agent.explain import figures
from agent.flow import Reason
from agent.history import Columns


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a reason says to a person."""

    short: str
    cure: str = ""
    detail: str = ""
    """Goes on after `short`, with the medians of the reason's frames in braces; left out where one is not known."""


_PROBE = "`vedette check CONFIG --probe` tells what is in the way"
_MEANINGS = {
    Reason.P_OK: Meaning("the cloud was likely to answer in time", detail=", and for {in_time} of these frames it did"),
    Reason.P_LOW_BANDWIDTH: Meaning(
        "the uplink is too slow",
        "A better antenna or plan helps, or a longer routing.deadline_ms.",
        ": the smallest picture takes {upload_ms} of {deadline_ms} ms at {uplink_mbit_s} Mbit/s",
    ),
    Reason.P_LOW_RTT: Meaning(
        "the way to the cloud and back is too long",
        "Another network helps, or one with less other traffic, or a longer routing.deadline_ms.",
        ": a round trip takes {rtt_ms} of {deadline_ms} ms",
    ),
    Reason.P_LOW_SERVER: Meaning(
        "the cloud computes for too long",
        "A smaller hosted model helps, or a longer routing.deadline_ms.",
        ": once it has the picture it takes {server_ms} of {deadline_ms} ms",
    ),
    Reason.NO_EVIDENCE: Meaning(
        "too little is known of the link", "Normal at the start and after a silence; answers in time end it."
    ),
    Reason.UPLINK_BUSY: Meaning(
        "an earlier picture was still on the wire",
        "Normal where the cameras give more frames than the uplink carries.",
        ": the smallest takes {upload_ms} ms at {uplink_mbit_s} Mbit/s",
    ),
    Reason.STALLED: Meaning("the link fell silent in the middle of an upload", "If it often does: look at the signal."),
    Reason.DEAD: Meaning(
        "nothing gets through", f"The agent dials until something does. If the network is there: {_PROBE}."
    ),
    Reason.INFLIGHT_FULL: Meaning(
        "as many requests as allowed had no answer yet",
        "A smaller hosted model helps.",
        ": the cloud takes {server_ms} ms for each",
    ),
    Reason.BUDGET_DATA: Meaning(
        "the picture was not worth its share of the data cap",
        "A higher routing.data_cap_mb_per_day (or _month) buys more; fewer frames a second need less.",
        ": {data_left_mb} MB could be spent",
    ),
    Reason.BUDGET_CREDITS: Meaning(
        "the request was not worth its share of the credits",
        "A higher routing.credits_per_day (or _month) buys more; fewer frames a second need less.",
        ": {credits_left} could be spent",
    ),
    Reason.HTTP_AUTH: Meaning("the cloud refused the key, or the account has no credits", f"Look at both; {_PROBE}."),
    Reason.HTTP_RATE_LIMITED: Meaning(
        "the cloud asked for a pause (429)", "Fewer frames a second help, or a plan that allows more."
    ),
    Reason.HTTP_ERROR: Meaning("the cloud answered with errors", f"The agent's log names them; {_PROBE}."),
    Reason.LOCAL_ONLY: Meaning("no cloud was to be used", "So says routing.mode, or engines.cloud is not given."),
    Reason.CLOUD_ONLY: Meaning("the device was not to be used", "So says routing.mode, or engines.local is not given."),
    Reason.LOCAL_OVERLOADED: Meaning(
        "the device had no time left for the frame, only the cloud could answer it",
        "A faster on-device model or fewer frames a second would cover such frames.",
        ", and for {in_time} of them it did in time",
    ),
    Reason.PROBE: Meaning(
        "sent to find out whether the cloud serves, while the device worked on it too",
        detail="; {in_time} of these frames the cloud answered in time",
    ),
}
_UNKNOWN = Meaning("this version does not know the reason", "Explain it with the version that wrote it.")
_MEDIANS = ("upload_ms", "rtt_ms", "server_ms", "deadline_ms", "uplink_mbit_s", "data_left_mb", "credits_left")


def meaning_of(name: str) -> Meaning:
    """In words, also for a reason of another version."""
    return _MEANINGS[Reason(name)] if name in {reason.value for reason in Reason} else _UNKNOWN


def sentence(name: str, frames: Columns) -> str:
    """What a reason means, with the medians of its frames, and what to do."""
    meaning = meaning_of(name)
    medians = {column: figures.brief(figures.median(getattr(frames, column))) for column in _MEDIANS}
    in_time = figures.percent(float(np.mean(frames.cloud_in_time)))
    detail = meaning.detail.format(in_time=in_time, **medians)
    known = "" if figures.NOTHING in detail.split() else detail
    return f"{meaning.short}{known}. {meaning.cure}".rstrip()
