"""The module `signal` for whoever starts quickly, which that one does not: it imports `enum`.

Numbers are plain integers here. The module in C below is the same in every CPython; where there is
none, the documented one does.
"""

from __future__ import annotations

__all__ = ["signal"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    try:
        import _signal as signal
    except ImportError:
        import signal
