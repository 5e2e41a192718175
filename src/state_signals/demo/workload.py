"""The workload between the signals: keeps one processor and the disk busy, and checks what it reads back.

python -m state_signals.demo.workload SECONDS SEED
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import tempfile
import time
import zlib
from dataclasses import asdict, dataclass, fields
from typing import IO, Self

__all__ = ["Work", "work"]

_BLOCK = 256 * 1024
"""Bytes of data that are hashed and compressed at a time."""

_BLOCKS = 8
"""Blocks that are written before they are made durable and read back."""


@dataclass(frozen=True, slots=True)
class Work:
    """What was done.

    Attributes:
        blocks: blocks that were hashed and compressed.
        hashed: their bytes.
        written: bytes that were written, made durable, and read back unchanged.
    """

    blocks: int = 0
    hashed: int = 0
    written: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.blocks + other.blocks, self.hashed + other.hashed, self.written + other.written)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `main` has printed. Raises ValueError if it is anything else."""
        values = json.loads(text)
        try:
            return cls(**{field.name: int(values[field.name]) for field in fields(cls)})
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a worker's report: {text!r:.200}") from error


def work(seconds: float, seed: int) -> Work:
    """Hash, compress, write, make durable, read back, compare, for so long.

    The file has no name: nothing is left of it, however this process ends.

    Raises:
        OSError: if the disk does not take the data or gives back something else.
    """
    deadline = time.monotonic() + seconds
    source = random.Random(seed)  # noqa: S311 - noise, not secrets
    done = Work()
    with tempfile.TemporaryFile(prefix="state-signals-demo-", dir=_directory()) as file:
        while time.monotonic() < deadline:
            packed = []
            for _ in range(_BLOCKS):
                # Few different bytes, so that there is something to compress.
                block = source.randbytes(_BLOCK // 2).hex().encode()
                packed.append(hashlib.sha256(block).digest() + zlib.compress(block))
            _write_and_read_back(file, b"".join(packed))
            done += Work(_BLOCKS, _BLOCKS * _BLOCK, sum(map(len, packed)))
    return done


def _write_and_read_back(file: IO[bytes], data: bytes) -> None:
    file.seek(0)
    file.truncate()
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):
        # What is read next is to come from the disk, not from memory.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    file.seek(0)
    if file.read() != data:
        raise OSError("the disk gave back other bytes than were written")


def _directory() -> str | None:
    """Return a folder on a disk: /tmp often is in memory, /var/tmp never. Whoever sets TMPDIR is obeyed."""
    usual = "/var/tmp"  # noqa: S108 - the file that goes there has no name
    return usual if "TMPDIR" not in os.environ and os.access(usual, os.W_OK) else None


def main() -> None:
    """Run one worker by command-line arguments, and print what was done as JSON."""
    seconds, seed = sys.argv[1:]
    sys.stdout.write(json.dumps(asdict(work(float(seconds), int(seed)))))


if __name__ == "__main__":
    main()
