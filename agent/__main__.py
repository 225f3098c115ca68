"""`python -m agent`: the same command line as `vedette`."""

import sys

from agent.cli import main

sys.exit(main())
