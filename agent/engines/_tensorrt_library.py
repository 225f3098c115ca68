"""TensorRT's Python bindings, which come with the system: found, or said to be absent; and what they have to say.

Works with TensorRT 8.5, which first had named tensors, to 11. State: each listener has its own.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from agent.errors import EngineBroken

_MOST_ERRORS: Final = 8
_LONGEST_ERROR: Final = 300


def library() -> Any:  # noqa: ANN401 - untyped library
    """The bindings. Raises EngineBroken."""
    try:
        import tensorrt
    except ImportError as error:
        raise EngineBroken(
            f"TensorRT's Python bindings cannot be loaded ({error}); on a Jetson they come with JetPack: "
            "sudo apt install python3-libnvinfer, and make the environment with --system-site-packages"
        ) from error
    if not hasattr(tensorrt.ICudaEngine, "get_tensor_name"):
        raise EngineBroken(f"TensorRT {tensorrt.__version__} is too old; 8.5 or newer is needed (JetPack 6 has 8.6)")
    return tensorrt


def listener(trt: Any) -> Any:  # noqa: ANN401 - untyped library
    """A logger for the library's objects, whose `reason()` says what went wrong since it was last asked."""

    class Listener(trt.ILogger):  # type: ignore[misc] # untyped library
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: deque[str] = deque(maxlen=_MOST_ERRORS)

        def log(self, severity: Any, msg: str) -> None:  # noqa: ANN401 - untyped library
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self._errors.append(" ".join(msg.split())[:_LONGEST_ERROR])

        def reason(self) -> str:
            said = "; ".join(dict.fromkeys(self._errors)) or "TensorRT gives no reason"
            self._errors.clear()
            return said

    heard = Listener()
    trt.init_libnvinfer_plugins(heard, "")
    return heard


def made(kind: Callable[[Any], Any], heard: Any) -> Any:  # noqa: ANN401 - untyped library
    """A builder or a runtime, which tells `heard` what goes wrong. Raises EngineBroken."""
    try:
        return kind(heard)
    except (TypeError, RuntimeError) as error:  # how the bindings say that the library gave them none
        raise EngineBroken(f"TensorRT does not start: {heard.reason()}") from error
