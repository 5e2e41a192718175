"""Who is on a roster, and the wait for enough of them."""

from __future__ import annotations

from typing import Any

from state_signals.protocol.events import ResponderSubscribed, SubscriptionCompleted
from state_signals.protocol.roster import Roster


def test_a_roster_is_awaited_until_enough_are_there():
    told: list[Any] = []
    roster = Roster(told.append)
    roster.wait(1, 10.0, 0.0, is_periodic=False)
    assert roster.is_awaited
    roster.joined("a")
    roster.check()
    assert not roster.is_awaited
    assert told == [ResponderSubscribed("a"), SubscriptionCompleted(enough=True)]
