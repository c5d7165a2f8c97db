"""``python -m nsctl``."""

import os

from nsctl.cli.main import entry

os._exit(entry())  # which has flushed what was printed
