"""What the figures were measured on: processor, clock policy, temperature, versions. No state."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Final

import agent
from agent import heat

_DISTRIBUTIONS: Final = {
    "tflite": ("ai-edge-litert", "tflite-runtime"),
    "onnx": ("onnxruntime", "onnxruntime-gpu"),
    "tensorrt": ("tensorrt",),
}
_CPU: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_BOARD: Final = Path("/proc/device-tree/model")


def facts() -> dict[str, str]:
    """Each by its name; what this machine does not tell is left out."""
    told = {
        "machine": _read(_BOARD).rstrip("\0"),
        "cpu": _cpu_model(),
        "architecture": platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "governor": _read(_CPU / "scaling_governor"),
        "temperature_c": hottest_c(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "vedette": agent.__version__,
    }
    return {name: value for name, value in told.items() if value}


def line(told: dict[str, str]) -> str:
    """The same for people."""
    shown = [told[name] for name in ("machine", "cpu", "architecture") if name in told]
    shown.append(f"{told['cores']} core" + ("" if told["cores"] == "1" else "s"))
    shown += [f"{name} {told[name]}" for name in ("governor",) if name in told]
    shown += [f"{told['temperature_c']} °C" for _ in "." if "temperature_c" in told]
    return ", ".join([*shown, f"Python {told['python']}", f"Vedette {told['vedette']}"])


def runtime(engine: str) -> str:
    """The library that an engine runs on, with its version; the engine's name where none tells."""
    return next((f"{name} {version}" for name in _DISTRIBUTIONS.get(engine, ()) if (version := _version(name))), engine)


def _version(distribution: str) -> str:
    """Empty where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def peak_mb(process: int | None = None) -> float:
    """The most memory that a process, None: this one, has held, MB: the high-water mark of its resident set."""
    rows = _read(Path(f"/proc/{process or 'self'}/status")).splitlines()
    marks = (row.split()[1] for row in rows if row.startswith("VmHWM"))
    return int(next(marks, "0")) * 1024 / 1e6


def hottest_c() -> str:
    """The warmest sensor in whole degrees Celsius; empty where there is none."""
    return str(round(max(celsius.values()))) if (celsius := heat.measured().celsius) else ""


def _cpu_model() -> str:
    rows = (row.partition(":") for row in _read(Path("/proc/cpuinfo")).splitlines())
    return next((value.strip() for name, _, value in rows if name.strip() == "model name"), "")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
