"""What every test needs."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let Ctrl-C through: a shell that starts the tests in the background has it ignored, also below."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
