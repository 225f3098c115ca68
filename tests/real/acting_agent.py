"""The agent with one engine more, that in `standin_engines` beside this file. Arguments as of `vedette`."""

import sys
from pathlib import Path

from agent import engines

engines.__path__.append(str(Path(__file__).resolve().parent / "standin_engines"))

from agent.cli import main  # noqa: E402 - it looks for plugins

if __name__ == "__main__":
    sys.exit(main())
