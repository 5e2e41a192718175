"""`python -m state_signals.cli`, for where the script `state-signals` is not on PATH."""

from __future__ import annotations

import sys

from state_signals.cli import main

__all__: list[str] = []

sys.exit(main())
