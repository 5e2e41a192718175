"""An exporter in a process of its own: does what it reads as JSON lines, and prints what comes of it.

exporter_process.py SHELL METHOD URL OPTIONS

METHOD is `new` or `resume`. Each line that is read is `[method, options]`. Errors of ours are printed by name.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from typing import Any

import state_signals
import state_signals.asyncio
from state_signals import PublishResult, StateSignalsError


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - that is how it talks


def shown(result: object) -> object:
    if isinstance(result, PublishResult):
        return {"ok": result.ok, "outcomes": {name: each.outcome for name, each in result.reports.items()}}
    return result


async def awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def conduct(module: Any, method: str, url: str, options: dict[str, Any]) -> None:
    try:
        if method == "resume":
            exporter = await awaited(module.SignalExporter.resume(url=url, **options))
        else:
            exporter = module.SignalExporter("fio", url=url, **options)
            await awaited(exporter.connect() if hasattr(exporter, "connect") else None)
    except StateSignalsError as error:
        say(error=type(error).__name__)
        return
    say(id=exporter.pub_id, subs=sorted(exporter.subs), events=exporter.legal_events)
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, arguments = json.loads(line)
        try:
            say(result=shown(await awaited(getattr(exporter, name)(**arguments))))
        except StateSignalsError as error:
            say(error=type(error).__name__)


if __name__ == "__main__":
    which = state_signals if sys.argv[1] == "sync" else state_signals.asyncio
    asyncio.run(conduct(which, sys.argv[2], sys.argv[3], json.loads(sys.argv[4])))
