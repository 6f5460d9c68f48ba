"""What every test may rely on."""

from __future__ import annotations

import signal

# A shell that starts the tests in its background has Ctrl-C ignored, and so would every command under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
