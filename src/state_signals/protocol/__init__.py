"""The sans-I/O core: it decides everything, does nothing, and never looks at a clock.

Bytes go in with `message_received(data, now)`, time with `handle_timeout(now)`; `messages_to_send()` and `next_event()`
say what is to be done, `next_deadline()` when to come back. `now` is any clock in seconds that never goes backwards.
"""
