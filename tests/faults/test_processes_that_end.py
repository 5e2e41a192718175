"""Processes that end without a good-bye, that fork, and that do nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import redis

from tests.conftest import wait_until
from tests.faults.measures import measured
from tests.programs import finished

ENDINGS = """
    import asyncio, os, signal, sys, threading
    import state_signals, state_signals.asyncio

    def end(how):
        if how == "raise":
            raise SystemError("on purpose")
        if how == "exit-at-once":
            os._exit(4)
        if how == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
    """

IN_A_ROUND = {
    "sync": """
    url, how = sys.argv[1:]
    acting = threading.Event()
    responder = state_signals.SignalResponder(url=url)

    @responder.on("start")
    def act(_):
        acting.set()
        threading.Event().wait()

    threading.Thread(target=responder.run, daemon=True).start()
    exporter = state_signals.SignalExporter("fio", url=url)
    assert exporter.initialize_and_wait(1, ["start"]) == 0
    wait = {"timeout": None}
    threading.Thread(target=exporter.publish_signal, args=["start"], kwargs=wait, daemon=True).start()
    acting.wait()
    end(how)
    """,
    "asyncio": """
    async def main(url, how):
        acting = asyncio.Event()
        responder = state_signals.asyncio.SignalResponder(url=url)

        @responder.on("start")
        async def act(_):
            acting.set()
            await asyncio.Event().wait()

        await responder.connect()
        following = asyncio.create_task(responder.run())
        exporter = state_signals.asyncio.SignalExporter("fio", url=url)
        assert await exporter.initialize_and_wait(1, ["start"]) == 0
        publishing = asyncio.create_task(exporter.publish_signal("start", timeout=None))
        await acting.wait()
        end(how)

    asyncio.run(main(*sys.argv[1:]))
    """,
}


def clients(url: str) -> set[str]:
    """The connections of a server, but for the one that asks."""
    with redis.Redis.from_url(url) as client:
        own = client.client_id()
        return {each["id"] for each in client.client_list() if int(each["id"]) != own}


@pytest.mark.parametrize(
    ("how", "status", "last"),
    [
        ("return", 0, ""),
        ("raise", 1, "SystemError: on purpose"),
        ("exit-at-once", 4, ""),
        ("interrupt", -signal.SIGINT, "KeyboardInterrupt"),
    ],
)
def test_a_process_ends_in_the_middle_of_a_round_without_close(
    redis_url: str, shell: str, how: str, status: int, last: str
) -> None:
    before = clients(redis_url)
    done = finished(textwrap.dedent(ENDINGS) + textwrap.dedent(IN_A_ROUND[shell]), redis_url, how)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    lines = done.stderr.splitlines()
    if last:
        assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", last)
        # Nothing of ours on top of it; Python itself tells how a loop was interrupted.
        assert "state_signals/" not in done.stderr
    else:
        assert lines == []
    wait_until(lambda: clients(redis_url) == before, what="the end of its connections")


# Forks

FORKS = {
    "sync": """
    import gc, multiprocessing, os, sys, threading
    import redis, state_signals

    url, how = sys.argv[1:]

    def clients():
        with redis.Redis.from_url(url) as client:
            own = client.client_id()
            return {each["id"] for each in client.client_list() if int(each["id"]) != own}

    def fork():
        if how == "multiprocessing":
            child = multiprocessing.get_context("fork").Process(target=gc.collect)
            child.start()
            child.join()
            return child.exitcode
        child = os.fork()
        if not child:
            if how == "close":
                exporter.close()
                responder.close()
            elif how == "collect":
                forget()
                gc.collect()
            elif how == "exit":
                sys.exit(0)
            os._exit(0)
        return os.waitpid(child, 0)[1]

    def forget():
        global exporter, responder
        exporter = responder = None

    responder = state_signals.SignalResponder(url=url)

    @responder.on("start")
    def act(_):
        assert fork() == 0
        return "forked"

    following = threading.Thread(target=responder.run)
    following.start()
    exporter = state_signals.SignalExporter("fio", url=url)
    assert exporter.initialize_and_wait(1, ["start"]) == 0
    before = clients()
    assert fork() == 0
    for _ in range(3):
        assert exporter.publish_signal("start") == (0, {responder.responder_id: "forked"})
    assert clients() == before
    exporter.close()
    following.join()
    responder.close()
    """,
    "asyncio": """
    import asyncio, gc, multiprocessing, os, sys
    import redis, state_signals.asyncio

    url, how = sys.argv[1:]

    def clients():
        with redis.Redis.from_url(url) as client:
            own = client.client_id()
            return {each["id"] for each in client.client_list() if int(each["id"]) != own}

    def close(party):
        try:
            party.close().send(None)
        except StopIteration:
            return
        os._exit(5)

    def fork(*parties):
        if how == "multiprocessing":
            child = multiprocessing.get_context("fork").Process(target=gc.collect)
            child.start()
            child.join()
            return child.exitcode
        child = os.fork()
        if not child:
            if how == "close":
                for party in parties:
                    close(party)
            elif how == "collect":
                gc.collect()
            # The loop is the parent's: there is no other way out of it.
            os._exit(0)
        return os.waitpid(child, 0)[1]

    async def main():
        responder = state_signals.asyncio.SignalResponder(url=url)
        exporter = state_signals.asyncio.SignalExporter("fio", url=url)

        @responder.on("start")
        async def act(_):
            assert fork(exporter, responder) == 0
            return "forked"

        await responder.connect()
        following = asyncio.create_task(responder.run())
        assert await exporter.initialize_and_wait(1, ["start"]) == 0
        before = clients()
        assert fork(exporter, responder) == 0
        for _ in range(3):
            assert await exporter.publish_signal("start") == (0, {responder.responder_id: "forked"})
        assert clients() == before
        await exporter.close()
        await following
        await responder.close()

    asyncio.run(main())
    """,
}


@pytest.mark.parametrize("how", ["exit", "close", "collect", "multiprocessing"])
def test_a_child_that_was_forked_disturbs_nothing(redis_url: str, shell: str, how: str) -> None:
    before = clients(redis_url)
    done = finished(FORKS[shell], redis_url, how)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    wait_until(lambda: clients(redis_url) == before, what="the end of its connections")


# Idling


LONG_ENOUGH = 5.5
"""Seconds in which everything that is done from time to time is done at least once."""


class Wakeups:
    """How often a process wakes up: runs of its threads that follow one another closely count as one.

    Args:
        pid: the process.
    """

    APART = 0.25
    """Seconds between two that count as two."""

    def __init__(self, pid: int) -> None:
        self._tasks = Path(f"/proc/{pid}/task")
        self._last = self._switches()
        self._changed_at = time.monotonic()
        self.count = 0
        self.switches = 0

    def has_calmed(self) -> bool:
        """Whether it has slept for a while."""
        self.look()
        return time.monotonic() - self._changed_at > self.APART

    def look(self) -> None:
        """Take note of what has run since the last look."""
        now, switches = time.monotonic(), self._switches()
        if switches != self._last:
            self.count += now - self._changed_at >= self.APART
            self.switches += sum(switches.values()) - sum(self._last.values())
            self._last, self._changed_at = switches, now

    def _switches(self) -> dict[str, int]:
        found = {}
        for task in self._tasks.iterdir():
            lines = (task / "status").read_text(encoding="ascii").splitlines()
            found[task.name] = next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
        return found


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts what Linux counts")
def test_who_idles_wakes_up_no_more_than_once_a_second(shell: str, redis_url: str) -> None:
    program = IDLE[shell]
    command = [sys.executable, "-c", textwrap.dedent(program), redis_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as idle:
        try:
            assert idle.stdin
            assert idle.stdout
            assert idle.stdout.readline() == "ready\n"
            wakeups = Wakeups(idle.pid)
            wait_until(wakeups.has_calmed, what="silence")
            wakeups.count = wakeups.switches = 0
            began = time.monotonic()
            # The only way to see that nothing happens is to look for a while.
            while (elapsed := time.monotonic() - began) < LONG_ENOUGH:
                wakeups.look()
                time.sleep(0.005)
            assert 1 <= wakeups.count <= elapsed, f"{wakeups.switches} switches"
            # Each of them is short, too.
            assert wakeups.switches <= 10 * elapsed
            measured(elapsed / wakeups.count, "between two wake-ups")
            idle.stdin.close()
            assert idle.wait(20) == 0
        finally:
            idle.kill()


IDLE = {
    "sync": """
    import sys, threading, state_signals
    responder = state_signals.SignalResponder(url=sys.argv[1])
    following = threading.Thread(target=responder.run)
    following.start()
    with state_signals.SignalExporter("fio", url=sys.argv[1]) as exporter:
        assert exporter.initialize_and_wait(1, ["start"]) == 0
        assert exporter.publish_signal("start").ok
        print("ready", flush=True)
        sys.stdin.read()
    following.join()
    responder.close()
    """,
    "asyncio": """
    import asyncio, sys
    from state_signals.asyncio import SignalExporter, SignalResponder
    async def main():
        async with SignalResponder(url=sys.argv[1]) as responder:
            following = asyncio.create_task(responder.run())
            async with SignalExporter("fio", url=sys.argv[1]) as exporter:
                assert await exporter.initialize_and_wait(1, ["start"]) == 0
                assert (await exporter.publish_signal("start")).ok
                print("ready", flush=True)
                await asyncio.to_thread(sys.stdin.read)
            await following
    asyncio.run(main())
    """,
}
