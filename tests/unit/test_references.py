"""Which frames are held for a comparison of two versions, and how many."""

from dataclasses import replace

import numpy as np
from fakes import a_frame
from unit.test_doubt import a_result

from agent.flow import Answer, Frame, Prediction, Reason, Result, Route, Timings
from agent.rollout.references import MOST_BYTES, References

CAR = Prediction(30.0, 24.0, 20.0, 20.0, 0.9, "car", 2)
EVERY_S = 5.0


def shown(
    seq: int, *found: Prediction, at_s: float, route: Route = Route.LOCAL, camera: str = "gate"
) -> tuple[Frame, Result]:
    """A frame, and the result that has left."""
    result = replace(a_result(Reason.P_OK, Answer(found, "m", "e", Timings()), seq=seq, at_s=at_s), camera=camera)
    return a_frame(seq, captured_s=at_s, camera=camera), replace(result, published=route)


def collecting(frames: int = 8, every_s: float = EVERY_S) -> References:
    references = References(frames, every_s)
    references.collect()
    return references


def test_frames_of_one_camera_are_spaced_in_time_and_cameras_do_not_wait_for_each_other() -> None:
    references = collecting()
    for at_s in (0.0, 1.0, 4.9, 5.0, 6.0):
        for camera in ("gate", "yard"):
            references.see(*shown(1, CAR, at_s=at_s, camera=camera))
    assert [(each.frame.camera, each.frame.captured_s) for each in references.taken()] == [
        ("gate", 0.0),
        ("yard", 0.0),
        ("gate", 5.0),
        ("yard", 5.0),
    ]


def test_there_are_never_more_than_enough_and_most_have_objects() -> None:
    references = collecting()
    for number in range(100):
        references.see(*shown(number, *([CAR] if number % 2 else []), at_s=number * EVERY_S))
    taken = references.taken()
    assert len(taken) == 10
    assert references.found == 8


def test_a_frame_that_the_hosted_api_has_answered_takes_the_place_of_one_it_has_not() -> None:
    references = collecting(frames=2)
    routes = [Route.LOCAL, Route.LOCAL, Route.LOCAL, Route.CLOUD, Route.CLOUD, Route.CLOUD]
    for number, route in enumerate(routes):
        references.see(*shown(number, CAR, at_s=number * EVERY_S, route=route))
    assert [each.frame.seq for each in references.taken()] == [3, 4]
    assert references.hosted == 2
    assert all(each.hosted is not None and each.hosted.predictions == (CAR,) for each in references.taken())


def test_a_large_frame_is_thinned_out_with_its_answer_and_holds_nothing_of_the_whole_one() -> None:
    references = collecting()
    frame, result = shown(1, replace(CAR, x=1000.0, width=400.0), at_s=0.0, route=Route.CLOUD)
    pixels = np.arange(2160 * 3840 * 3, dtype=np.uint32).astype(np.uint8).reshape(2160, 3840, 3)
    references.see(replace(frame, pixels=pixels), result)
    (taken,) = references.taken()
    assert taken.frame.pixels.nbytes <= MOST_BYTES
    assert (taken.frame.width, taken.frame.height) == (1920, 1080)
    assert taken.frame.pixels.base is None
    assert np.array_equal(taken.frame.pixels, pixels[::2, ::2])
    assert taken.hosted is not None
    assert (taken.hosted.predictions[0].x, taken.hosted.predictions[0].width) == (500.0, 200.0)


def test_a_frame_of_usual_size_is_held_as_captured() -> None:
    references = collecting()
    frame, result = shown(1, CAR, at_s=0.0)
    frame = replace(frame, pixels=np.zeros((1080, 1920, 3), dtype=np.uint8))
    references.see(frame, result)
    assert references.taken()[0].frame is frame
