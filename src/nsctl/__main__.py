"""``python -m nsctl``."""

import sys

from nsctl.cli.main import entry

sys.exit(entry())
