"""A camera's history -> the track that is drawn of it. No state."""

from agent.chart.timeline import Track
from agent.explain import figures
from agent.history import CameraHistory


def track(camera: CameraHistory) -> Track:
    """What the picture shows of one camera."""
    frames, corrections = camera.frames, camera.corrections
    when = figures.period(float(frames.at_s[0]), float(frames.at_s[-1])) if len(frames) else "no frame"
    return Track(
        title=f"{camera.name}   {when}",
        at_s=frames.at_s,
        span=frames.span,
        reason=frames.reason,
        from_cloud=frames.from_cloud,
        corrected=frames.cloud_in_time & ~frames.from_cloud,
        late=frames.late,
        took_ms=frames.took_ms,
        deadline_ms=frames.deadline_ms,
        uplink_mbit_s=frames.uplink_mbit_s,
        rtt_ms=frames.rtt_ms,
        p=frames.p,
        threshold=frames.threshold,
        data_left_mb=frames.data_left_mb,
        credits_left=frames.credits_left,
        corrected_at_s=corrections.at_s,
        corrected_took_ms=corrections.took_ms,
    )
