"""Run by the Python that has state-signals 1.0.1: a responder or an exporter that prints what it sees as JSON lines.

version_1.py PORT responder NAME FAILS_ON...
version_1.py PORT exporter AWAITED STEPS
"""

import json
import sys

import state_signals


def say(**what):
    print(json.dumps(what), flush=True)


def responder(server, name, fails_on):
    party = state_signals.SignalResponder(responder_name=name, **server)
    say(id=party.responder_id)
    for signal in party.listen():
        say(**vars(signal))
        if signal.event == "initialization":
            party.srespond(signal)
        elif signal.event == "shutdown":
            return
        elif signal.event not in fails_on:
            party.srespond(signal, ras=1, message=f"{name} did {signal.event}")
        elif signal.event != "silence":
            party.srespond(signal, ras=0, message=f"{name} could not")


def exporter(server, awaited, steps):
    party = state_signals.SignalExporter("old", runner_host="oldhost", **server)
    say(
        initialized=party.initialize_and_wait(
            awaited, ["start", "stop", "silence"], tag="t", periodic=True, timeout=20
        ),
        subs=sorted(party.subs),
        id=party.pub_id,
    )
    for step in steps:
        code, messages = party.publish_signal(**step)
        say(code=code, messages=messages)
    party.shutdown()


if __name__ == "__main__":
    where = {"redis_host": "127.0.0.1", "redis_port": int(sys.argv[1]), "log_level": "CRITICAL"}
    if sys.argv[2] == "responder":
        responder(where, sys.argv[3], sys.argv[4:])
    else:
        exporter(where, int(sys.argv[3]), json.loads(sys.argv[4]))
