"""Run by the Python that has state-signals 1.0.1: a responder that comes back when its connection is cut.

version_1.py PORT NAME

Left alone it would end there. Prints its id, and then a line for each signal that it has heard.
"""

import contextlib
import json
import sys

import redis

import state_signals


def say(**what):
    print(json.dumps(what), flush=True)


def follow(party):
    """Answer until the exporter has shut down; return whether it has."""
    for signal in party.listen():
        say(publisher_id=signal.publisher_id, event=signal.event, sample=signal.sample_no)
        if signal.event == "shutdown":
            return True
        party.srespond(signal, ras=1)
    return False


def subscribe_again(party):
    party.subscriber = party.redis.pubsub(ignore_subscribe_messages=True)
    party.subscriber.subscribe("event-signal-pubsub")
    party.channel = party.subscriber.listen()


def main(port, name):
    party = state_signals.SignalResponder(
        responder_name=name, redis_host="127.0.0.1", redis_port=port, log_level="CRITICAL"
    )
    say(id=party.responder_id)
    is_over = False
    while not is_over:
        # The redis-py that it pins raises either, depending on when it is cut.
        with contextlib.suppress(redis.RedisError, AttributeError):
            is_over = follow(party)
        if not is_over:
            with contextlib.suppress(redis.RedisError, AttributeError):
                subscribe_again(party)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
