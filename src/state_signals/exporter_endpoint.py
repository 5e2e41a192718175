"""What the exporters of both shells have in common: identity, attributes, errors. Nothing in here waits."""

from __future__ import annotations

import math
import platform
import time
import uuid
from collections.abc import Callable, Mapping

from state_signals.arguments import (
    check_callback,
    check_events,
    check_names,
    check_presence_ttl,
    check_retention,
    check_text,
    identifier,
    seconds,
)
from state_signals.endpoint import CLAIM_TIMEOUT, Endpoint
from state_signals.exceptions import (
    Closed,
    InvalidArgument,
    PublisherIdInUse,
    RunAborted,
    TransportError,
    UnknownExporter,
)
from state_signals.identity import fate, new_owner
from state_signals.limits import Limits
from state_signals.protocol.events import (
    AbortRequested,
    ClaimRefused,
    Event,
    SignalRefused,
    SignalUnsent,
)
from state_signals.protocol.exporter import TIME_TO_SEND, ExporterProtocol
from state_signals.protocol.states import ExporterState
from state_signals.waiters import End

__all__ = ["ExporterEndpoint"]

_ENDINGS = (PublisherIdInUse, Closed, RunAborted)
"""As a tuple: `A | B` makes a new type each time, and this is looked at for each result."""


class ExporterEndpoint(Endpoint):
    """The identity and the attributes of an exporter."""

    def __init__(
        self,
        process_name: str,
        runner_host: str | None,
        conn_timeout: object,
        log_level: str | int | None,
        *,
        publisher_id: str | None,
        strict_v1: bool,
        journal: bool,
        presence_ttl: object,
        retention: float,
        resumes: bool,
        on_abort: Callable[[str], object] | None,
        limits: Limits,
    ) -> None:
        check_retention(retention)
        check_callback("on_abort", on_abort)
        super().__init__("exporter", log_level, conn_timeout, retention)
        check_text("process_name", process_name)
        host = platform.node() if runner_host is None else runner_host
        check_text("runner_host", host)
        name = identifier("publisher_id", publisher_id, f"{process_name}-{uuid.uuid4()}")
        self._resumes = resumes
        self._has_fixed_id = publisher_id is not None
        self._core = ExporterProtocol(
            name,
            process_name,
            host,
            reply=self._transport.keys.reply(name) if journal else None,
            owner=new_owner(),
            fate=fate,
            strict_v1=strict_v1,
            journal=journal,
            presence_ttl=check_presence_ttl(presence_ttl),
            resumes=resumes,
            limits=limits,
        )
        self._superseded: PublisherIdInUse | None = None
        self._aborted: RunAborted | None = None
        self._on_abort = on_abort

    def _check_usable(self) -> None:
        super()._check_usable()
        # Raised again and again, it must not collect where it has been.
        if self._superseded is not None:
            raise self._superseded.with_traceback(None)
        if self._aborted is not None:
            raise self._aborted.with_traceback(None)

    def _patience_to_claim(self) -> float:
        """Return the seconds within which it is known whose a `publisher_id` is, if the server reacts."""
        return self._core.claim_ttl + (CLAIM_TIMEOUT if self._conn_timeout is None else self._conn_timeout)

    def _until(self, timeout: object, began: float | None = None) -> float:
        """Return when a call with this timeout has to end, its signal being sent; infinite: never."""
        limit = seconds("timeout", timeout)
        now = time.monotonic() if began is None else began
        return math.inf if limit is None else now + max(limit, TIME_TO_SEND)

    def _raise_for(self, news: object, why: TransportError | None) -> None:
        """Raise what ends a wait without the result that is waited for."""
        if isinstance(news, _ENDINGS):
            raise news.with_traceback(None)
        if isinstance(news, SignalUnsent):
            raise self._unreachable("the signal was not published within its timeout", why)
        if isinstance(news, SignalRefused):
            raise self._refused("publish a signal", news.why)

    def _taken(self, owner: bytes) -> PublisherIdInUse:
        """Return the error for a `publisher_id` that belongs to another exporter."""
        self._superseded = PublisherIdInUse(
            f"publisher_id {self.pub_id!r} belongs to another exporter, which is alive: {owner[:300]!r}; "
            f"close that one, or choose another publisher_id"
        )
        return self._superseded

    def _ends_calls(self, event: Event) -> End | None:
        """Return the error with which all calls end because of an event, and do what follows; None: they go on."""
        if isinstance(event, ClaimRefused):
            return self._taken(event.owner)
        if isinstance(event, AbortRequested) and self._core.state is ExporterState.INITIALIZED:
            self._core.shutdown(tag=self._core.tag, aborted=event.reason, now=time.monotonic(), sent=time.time())
            return self._abort_run(event.reason)
        return None

    def _tell_of_abort(self, reason: str) -> None:
        """Call what the user wants to have called when somebody else has aborted the run."""
        if self._on_abort is None:
            return
        try:
            self._on_abort(reason)
        except Exception as error:
            # Whoever brings the news has more to do.
            self.logger.warning("on_abort failed", exc_info=error)

    def _abort_run(self, reason: str) -> RunAborted:
        """Return the error for a run that is aborted from now on."""
        self._aborted = RunAborted(f"the run of {self.pub_id!r} was aborted: {reason}", reason)
        return self._aborted

    def _check_detachable(self) -> None:
        """Refuse to leave behind what nobody can resume.

        Raises:
            InvalidArgument: if there is no roster, or the server keeps nothing.
        """
        if self._core.state is not ExporterState.INITIALIZED:
            raise InvalidArgument(f"exporter {self.pub_id!r} is {self._core.state}: initialize it before you detach")
        if not self._core.can_be_claimed:
            raise InvalidArgument(f"exporter {self.pub_id!r} has no journal, so that nobody could resume it")

    def _unknown(self) -> UnknownExporter:
        """Return the error for an exporter that cannot be resumed."""
        return UnknownExporter(
            f"there is no exporter {self.pub_id!r} to resume at {self._transport.address}: it was never "
            f"initialized, it was closed, or the server has forgotten it; check publisher_id, url and namespace"
        )

    @property
    def pub_id(self) -> str:
        """The `publisher_id` of the signals. May be assigned before the first of them; better is `publisher_id=`."""
        return self._core.publisher_id

    @pub_id.setter
    def pub_id(self, name: str) -> None:
        checked = identifier("pub_id", name, "")
        self._core.rename(checked, self._transport.keys.reply(checked))

    @property
    def proc_name(self) -> str:
        """The `process_name` of the signals."""
        return self._core.process_name

    @proc_name.setter
    def proc_name(self, name: str) -> None:
        check_text("proc_name", name)
        self._core.process_name = name

    @property
    def runner_host(self) -> str:
        """The `runner_host` of the signals."""
        return self._core.runner_host

    @runner_host.setter
    def runner_host(self, name: str) -> None:
        check_text("runner_host", name)
        self._core.runner_host = name

    @property
    def aborted(self) -> str | None:
        """Why the run was aborted; None: it was not."""
        return None if self._aborted is None else self._aborted.reason

    @property
    def subs(self) -> set[str]:
        """The roster: the responders that every signal waits for. May be changed and assigned."""
        return self._core.subs

    @subs.setter
    def subs(self, names: set[str]) -> None:
        self._core.subs = set(check_names("subs", names))

    @property
    def absent(self) -> frozenset[str]:
        """The members of the roster that were expected (`expected_resps`) and have not subscribed."""
        return self._core.absent

    @property
    def legal_events(self) -> list[str] | None:
        """The events that may be published; None before `initialize`."""
        return self._core.legal_events

    @legal_events.setter
    def legal_events(self, events: list[str]) -> None:
        self._core.legal_events = check_events(events)

    @property
    def counters(self) -> Mapping[str, int]:
        """How often each kind of message arrived that was not a first answer to an open round."""
        return dict(self._core.counters)

    def _warn_if_not_initialized(self) -> None:
        if self._core.state is not ExporterState.INITIALIZED:
            self.logger.warning("exporter is %s: no events are checked, nobody is waited for", self._core.state)
