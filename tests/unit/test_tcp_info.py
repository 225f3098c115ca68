"""What the kernel tells of a connection, and what is concluded from it about an upload."""

import socket
import struct

import pytest

from agent.engines import _tcp_info
from agent.engines._tcp_info import Path, Progress, Size, TcpInfo
from agent.flow import Reading

SEGMENT_BYTES = 1448
RTT_S = 0.060


def info(acked_bytes: int, *, sent_bytes: int = 20_000, idle: bool = False, srtt_s: float = 0.5) -> TcpInfo:
    """At the moment of an acknowledgement."""
    return TcpInfo(
        rtt_s=srtt_s,
        min_rtt_s=RTT_S,
        ack_age_s=0.0,
        segment_bytes=SEGMENT_BYTES,
        acked_bytes=acked_bytes,
        sent_bytes=sent_bytes,
        idle=idle,
        carried_bytes=0,
    )


def upload(
    acks: list[tuple[float, int]], *, size_bytes: int = 20_000, path: Path | None = None, flight_bytes: int = 20_000
) -> tuple[Progress, list[Reading]]:
    """An upload that begins at 100 s and is acknowledged so: seconds since the begin, and bytes."""
    size = Size(head_bytes=0, body_bytes=size_bytes, picture_bytes=size_bytes)
    progress = Progress(info(0, sent_bytes=0), size, path or Path(), now_s=100.0)
    first = progress.reading(info(0, sent_bytes=flight_bytes), now_s=100.01, written=True, metered_bytes=0)
    readings = [first]
    for at_s, acked_bytes in acks:
        now = info(acked_bytes, sent_bytes=size_bytes, idle=acked_bytes == size_bytes)
        readings.append(progress.reading(now, now_s=100.0 + at_s, written=True, metered_bytes=0))
    return progress, readings


def paced(
    rate_bit_s: float, *, rtt_s: float = RTT_S, size_bytes: int = 20_000, behind_s: float = 0.0
) -> list[tuple[float, int]]:
    """Every second segment is acknowledged, and the last."""
    ends = [*range(2 * SEGMENT_BYTES, size_bytes, 2 * SEGMENT_BYTES), size_bytes]
    return [(behind_s + rtt_s + end * 8 / rate_bit_s, end) for end in ends]


def test_a_real_connection_tells_what_the_other_side_has_acknowledged() -> None:
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        before = _tcp_info.read(client)
        with listener.accept()[0] as server:
            client.sendall(bytes(5000))
            while len(server.recv(5000, socket.MSG_PEEK)) < 5000:
                pass
            server.sendall(b"1")
            client.recv(1)
            after = _tcp_info.read(client)
    assert before is not None
    assert after is not None
    assert after.acked_bytes - before.acked_bytes == 5000
    assert after.sent_bytes - before.sent_bytes == 5000
    assert after.idle
    assert 5001 < after.carried_bytes - before.carried_bytes < 6000
    assert 0 < after.min_rtt_s < 1


def test_a_closed_connection_tells_nothing() -> None:
    closed = socket.socket()
    closed.close()
    assert _tcp_info.read(closed) is None


@pytest.mark.parametrize(("length", "known"), [(104, False), (151, False), (152, True), (192, True), (256, True)])
def test_a_kernel_that_tells_less_is_told_by_the_length_of_what_it_returns(length: int, *, known: bool) -> None:
    assert (_tcp_info.decode(bytes(length)) is not None) is known


def test_bytes_that_were_sent_again_are_metered_but_counted_once() -> None:
    raw = bytearray(256)
    struct.pack_into("=QQ", raw, 120, 900, 50)
    struct.pack_into("=II", raw, 136, 3, 2)
    struct.pack_into("=QQ", raw, 200, 1300, 300)
    told = _tcp_info.decode(bytes(raw))
    assert told is not None
    assert told.sent_bytes == 1000
    assert told.carried_bytes == 1300 + 50 + 5 * 52


@pytest.mark.parametrize("rate_bit_s", [256e3, 1e6, 8e6])
@pytest.mark.parametrize("rtt_s", [0.060, 0.200])
def test_the_round_trip_is_the_paths_without_the_time_that_the_uploads_own_bytes_take(
    rate_bit_s: float, rtt_s: float
) -> None:
    _, readings = upload(paced(rate_bit_s, rtt_s=rtt_s))
    assert readings[-1].rtt_s == pytest.approx(rtt_s, rel=0.02)


def test_bytes_that_had_to_wait_for_acknowledgements_do_not_make_the_link_look_slow() -> None:
    burst, rest = paced(8e6, size_bytes=14_480), paced(8e6, size_bytes=20_000, behind_s=RTT_S)
    acks = [*burst, *(ack for ack in rest if ack[1] > 14_480)]
    _, readings = upload(acks, flight_bytes=14_480)
    assert readings[-1].rtt_s == pytest.approx(RTT_S, rel=0.05)


def test_a_last_segment_that_is_acknowledged_late_arrived_as_those_before_it() -> None:
    acks = paced(1e6, size_bytes=18_000)
    (last_s, size_bytes) = acks.pop()
    progress, readings = upload([*acks, (last_s + 0.04, size_bytes)], size_bytes=size_bytes)
    assert progress.done_s == pytest.approx(100.0 + last_s, abs=0.001)
    assert readings[-1].at_s == progress.done_s


def test_more_than_a_segment_that_is_acknowledged_late_was_late() -> None:
    acks = [*paced(1e6)[:3], (0.5, 20_000)]
    progress, _ = upload(acks)
    assert progress.done_s == 100.5


def test_an_upload_behind_another_ones_bytes_does_not_make_the_path_longer() -> None:
    path = Path()
    upload(paced(256e3), path=path)
    _, readings = upload(paced(256e3, behind_s=0.4), path=path)
    assert readings[-1].rtt_s == pytest.approx(RTT_S, rel=0.05)


def test_a_connection_that_was_opened_behind_another_ones_bytes_does_not_make_the_path_longer() -> None:
    path = Path()
    assert path.floor_s(0.064, 100.0) == 0.064
    assert path.floor_s(0.110, 101.0) == 0.064
    assert path.floor_s(0.030, 102.0) == 0.030
    assert path.floor_s(0.110, 500.0) == 0.110


def test_a_path_that_got_longer_is_believed_after_a_while() -> None:
    path = Path()
    path.note(0.06, 95.0)
    _, readings = upload(paced(1e6, rtt_s=0.2), path=path)
    assert readings[-1].rtt_s == pytest.approx(0.2, rel=0.05)


def test_before_the_first_acknowledgement_the_round_trip_is_that_of_the_uploads_before() -> None:
    path = Path()
    path.note(0.07, 99.0)
    _, readings = upload([], path=path)
    assert readings[0].rtt_s == 0.07
    assert upload([])[1][0].rtt_s == 0.5


def test_the_picture_is_acknowledged_when_all_of_the_request_is() -> None:
    progress = Progress(info(1000, sent_bytes=999), Size(300, 10_100, 10_000), Path(), now_s=100.0)
    told = [
        progress.reading(info(1000 + acked, idle=idle), now_s=100.0 + n, written=written, metered_bytes=7)
        for n, (acked, idle, written) in enumerate(
            [(0, True, False), (300, True, False), (5350, False, True), (10_430, False, True), (10_430, True, True)]
        )
    ]
    assert [reading.acked_bytes for reading in told] == [0, 0, 5000, 9999, 10_000]
    assert [reading.unacked_bytes for reading in told] == [10_000, 10_000, 5000, 1, 0]
    assert {reading.metered_bytes for reading in told} == {7}


@pytest.mark.parametrize("acked_bytes", [0, 5_000])
def test_a_connection_that_was_reset_has_not_carried_the_picture(acked_bytes: int) -> None:
    progress = Progress(info(0, sent_bytes=0), Size(300, 10_100, 10_000), Path(), now_s=100.0)
    reset = info(acked_bytes, idle=True)
    reading = progress.reading(reset, now_s=100.1, written=True, metered_bytes=0)
    assert progress.done_s is None
    assert reading.unacked_bytes > 0
