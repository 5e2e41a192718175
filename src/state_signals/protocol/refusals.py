"""What it means that a server refuses a request."""

from __future__ import annotations

__all__ = ["is_forbidden", "is_permanent"]


def is_permanent(kind: str, text: str) -> bool:
    """Whether a server that refuses so will go on refusing: a permission or a command is missing."""
    return is_forbidden(kind, text) or kind in ("WRONGTYPE", "CROSSSLOT")


def is_forbidden(kind: str, text: str) -> bool:
    """Whether a server that refuses so does not allow the command, whatever it is about."""
    return kind == "NOPERM" or "unknown command" in text
