"""The client. Made of ``_async_client.py`` by ``make_sync.py``: change that one."""

from __future__ import annotations

import os
import ssl
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Optional, Union, cast

from ._transport import Transport, Stream, sleep
from ._envelope import Envelope, Page, Record
from ._request import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    NOT_GIVEN,
    Attempts,
    Endpoint,
    Moment,
    Request,
    credential,
    encode,
    fields,
    header,
    if_match,
    path,
    understand,
)
from ._signing import sign
from ._stream import SILENCE, Reader
from .errors import APIConnectionError, APIError, APITimeoutError, WaitTimeoutError
from .types import (
    Agent,
    APIKey,
    Checkpoint,
    Delivery,
    Event,
    Execution,
    History,
    Invocation,
    IssuedAgent,
    IssuedAPIKey,
    IssuedSubscription,
    IssuedTrigger,
    Me,
    Receipt,
    Received,
    RedeliveredSubscription,
    Rejection,
    Subscription,
    TestOutcome,
    TestSummary,
    Trigger,
    TriggerWithSecret,
    TriggerWithToken,
)

_LONGEST_WAIT = 60
_ENDED = ("completed", "failed", "cancelled")


class Hooktrail:
    """A client of one Hooktrail server.

    ``api_key`` (``htk_…``) defaults to the environment's HOOKTRAIL_API_KEY and ``base_url`` to
    HOOKTRAIL_URL. ``timeout`` is how many seconds one attempt of a request may take, from
    connecting to the last byte of the answer. ``max_retries`` is how often a request is tried
    again, where that is safe. ``ssl_context`` replaces the usual verification of the server's
    certificate, for an authority of your own.

    Raises ``ValueError`` for an argument that cannot be right.
    """

    agents: Agents
    api_keys: APIKeys
    audit: Audit
    events: Events
    executions: Executions
    rejections: Rejections
    subscriptions: Subscriptions
    webhook_triggers: WebhookTriggers

    def __init__(
        self,
        *,
        api_key: Optional[str] = None,
        base_url: Optional[str] = None,
        timeout: float = 30.0,
        max_retries: int = 2,
        ssl_context: Optional[ssl.SSLContext] = None,
    ) -> None:
        api_key = api_key or os.environ.get("HOOKTRAIL_API_KEY") or None
        base_url = base_url or os.environ.get("HOOKTRAIL_URL")
        if not base_url:
            raise ValueError("where is the server? Pass base_url or set HOOKTRAIL_URL")
        if not timeout > 0:
            raise ValueError("timeout must be more than 0 seconds")
        if max_retries < 0:
            raise ValueError("max_retries must be 0 or more")
        self._api_key = None if api_key is None else credential("api_key", api_key)
        self._endpoint = Endpoint.parse(base_url)
        self._timeout = timeout
        self._max_retries = max_retries
        self._transport = Transport(self._endpoint, ssl_context)
        self.agents = Agents(self)
        self.api_keys = APIKeys(self)
        self.audit = Audit(self)
        self.events = Events(self)
        self.executions = Executions(self)
        self.rejections = Rejections(self)
        self.subscriptions = Subscriptions(self)
        self.webhook_triggers = WebhookTriggers(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._endpoint}>"

    def __enter__(self) -> Hooktrail:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept for later requests."""
        self._transport.close()

    def me(self) -> Envelope[Me]:
        """Tell which key this is, and in which workspace."""
        return self._send(Request("GET", path("me")))

    def fire(
        self,
        token: str,
        payload: Any,
        *,
        secret: Optional[Union[str, bytes]] = None,
        idempotency_key: Optional[str] = None,
        wait: Optional[int] = None,
    ) -> Envelope[Invocation]:
        """Make a webhook call with a trigger's token (``wht_…``); no API key is needed.

        ``payload`` is sent as JSON, ``bytes`` as they are. With ``secret`` the call is signed.
        Calls with the same ``idempotency_key`` count once in 24 hours (``result.replayed`` tells
        a repeat); without one each call gets its own, so that it counts once however often it
        has to be tried. ``wait`` asks for the result: up to that many seconds, at most 60, after
        which the execution is still ``pending``.
        """
        body = bytes(payload) if isinstance(payload, (bytes, bytearray, memoryview)) else encode(payload)
        headers = {
            "Authorization": "Bearer " + credential("token", token),
            "Idempotency-Key": header(
                "idempotency_key", str(uuid.uuid4()) if idempotency_key is None else idempotency_key
            ),
        }
        if secret is not None:
            headers["X-Webhook-Signature"] = sign(body, secret)
        if wait is not None:
            if not 0 <= wait <= _LONGEST_WAIT:
                raise ValueError(f"wait must be from 0 to {_LONGEST_WAIT} seconds")
            headers["Prefer"] = f"wait={int(wait)}"
        return self._send(
            Request("POST", path("webhook", "trigger"), body=body, headers=headers, patience=wait or 0)
        )

    def _send(self, request: Request) -> Any:
        """Send a request, as often as is safe, and give its result."""
        lines = request.lines(self._endpoint, self._api_key)
        attempts = Attempts(request, self._max_retries)
        while True:
            try:
                answer = self._transport.round_trip(request, lines, self._timeout + request.patience)
                return understand(answer, self._endpoint)
            except (APIConnectionError, APIError) as error:
                if attempts.done_already(error):
                    return None
                pause = attempts.pause_after(error)
                if pause is None:
                    raise
            sleep(pause)

    def _listen(self, request: Request) -> Optional[Stream]:
        """Open a stream; ``None`` says that the server, or a proxy before it, does not offer it."""
        lines = request.lines(self._endpoint, self._api_key)
        attempts = Attempts(request, self._max_retries)
        while True:
            try:
                opened = self._transport.listen(request, lines, self._timeout, SILENCE)
                if isinstance(opened, Stream):
                    return opened
                if opened.status in (200, 404, 405):
                    return None
                understand(opened, self._endpoint)
                return None
            except APITimeoutError as error:
                if error.sent:  # something on the way holds back what is to be seen at once
                    return None
                pause = attempts.pause_after(error)
                if pause is None:
                    raise
            except (APIConnectionError, APIError) as error:
                pause = attempts.pause_after(error)
                if pause is None:
                    raise
            sleep(pause)

    def _each(self, at: str, limit: int, **query: Any) -> Iterator[Any]:
        """Go through all pages of a list."""
        cursor = None
        while True:
            page = self._send(Request("GET", at, {**query, "limit": limit, "cursor": cursor}))
            for entry in page["data"]:
                yield entry
            cursor = page.next_cursor
            if not cursor:
                return


class _Resource:
    def __init__(self, client: Hooktrail) -> None:
        self._client = client

    def _history(
        self,
        at: str,
        from_: Optional[Union[Moment, int]],
        to: Optional[Union[Moment, int]],
        limit: Optional[int],
    ) -> Any:
        return self._client._send(Request("GET", at, {"from": from_, "to": to, "limit": limit}))


class WebhookTriggers(_Resource):
    """Triggers: each binds a token, and perhaps a signing secret, to an agent."""

    def create(
        self,
        *,
        agent_id: str,
        name: str,
        generate_secret: Optional[bool] = None,
        secret: Optional[str] = None,
        is_active: Optional[bool] = None,
        options: Optional[Mapping[str, Any]] = None,
    ) -> Envelope[IssuedTrigger]:
        """Create a trigger. Its token, and its secret if there is one, are shown this once.

        ``options`` narrow or widen what it takes; ``{"schedule": {"cron": "30 9 * * 1-5",
        "time_zone": "Europe/Berlin"}}`` has it fire by itself.

        ``generate_secret`` makes a signing secret; ``secret`` brings one of your own, of 16 to
        256 bytes. Calls must be signed then.
        """
        body = fields(
            {},
            agent_id=agent_id,
            name=name,
            generate_secret=generate_secret,
            secret=secret,
            is_active=is_active,
            options=options,
        )
        return self._client._send(Request("POST", path("webhook-triggers"), body=body, repeatable=False))

    def list(
        self,
        *,
        agent_id: Optional[str] = None,
        is_active: Optional[bool] = None,
        name: Optional[str] = None,
        page: Optional[int] = None,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
    ) -> Page[Trigger]:
        """Give a page of the triggers, the newest first; ``name`` is a part of theirs.

        ``limit`` is from 1 to 100, by default 20.
        """
        query = {
            "agent_id": agent_id,
            "is_active": is_active,
            "name": name,
            "page": page,
            "limit": limit,
            "cursor": cursor,
        }
        return self._client._send(Request("GET", path("webhook-triggers"), query))

    def list_all(
        self,
        *,
        agent_id: Optional[str] = None,
        is_active: Optional[bool] = None,
        name: Optional[str] = None,
        limit: int = 100,
    ) -> Iterator[Trigger]:
        """Go through all triggers; ``limit`` is how many a request fetches."""
        for entry in self._client._each(
            path("webhook-triggers"), limit, agent_id=agent_id, is_active=is_active, name=name
        ):
            yield entry

    def get(self, trigger_id: str, *, as_of: Optional[Union[Moment, int]] = None) -> Envelope[Trigger]:
        """Get a trigger as it is, or as it was at a time or just behind a position in the log."""
        return self._client._send(
            Request("GET", path("webhook-triggers", "{trigger_id}", trigger_id=trigger_id), {"as_of": as_of})
        )

    def update(
        self,
        trigger_id: str,
        *,
        name: Optional[str] = None,
        is_active: Optional[bool] = None,
        agent_id: Optional[str] = None,
        options: Optional[Mapping[str, Any]] = None,
        if_version: Optional[int] = None,
    ) -> Envelope[Trigger]:
        """Change what is given. From the answer to ``is_active=False`` on, no call is accepted.

        ``options`` are merged by their names; ``None`` there removes one. With ``if_version``
        the trigger must still have that version; if not, it is a :class:`ConflictError`.
        """
        body = fields({}, name=name, is_active=is_active, agent_id=agent_id, options=options)
        at = path("webhook-triggers", "{trigger_id}", trigger_id=trigger_id)
        # Sent once more, the second would not find the version that the first has ended.
        return self._client._send(
            Request("PATCH", at, body=body, headers=if_match(if_version), repeatable=if_version is None)
        )

    def delete(self, trigger_id: str, *, if_version: Optional[int] = None) -> None:
        """Delete a trigger: its tokens end at once. Its past stays readable."""
        at = path("webhook-triggers", "{trigger_id}", trigger_id=trigger_id)
        self._client._send(Request("DELETE", at, headers=if_match(if_version)))

    def rotate_token(self, trigger_id: str, *, grace_period: Optional[int] = None) -> Envelope[TriggerWithToken]:
        """Put a new token in place, which is shown this once.

        The old one works for ``grace_period`` seconds more: 0 to 2592000 (30 days), by default
        86400 (a day).
        """
        at = path("webhook-triggers", "{trigger_id}", "rotate-token", trigger_id=trigger_id)
        return self._client._send(
            Request("POST", at, body=fields({}, grace_period=grace_period), repeatable=False)
        )

    def rotate_secret(
        self, trigger_id: str, *, grace_period: Optional[int] = None, secret: Optional[str] = None
    ) -> Envelope[TriggerWithSecret]:
        """Put a first or new signing secret in place, which is shown this once.

        Signatures by the old one pass for ``grace_period`` seconds more: 0 to 2592000 (30 days),
        by default 86400 (a day). ``secret`` brings one of your own, of 16 to 256 bytes.
        """
        at = path("webhook-triggers", "{trigger_id}", "rotate-secret", trigger_id=trigger_id)
        body = fields({}, grace_period=grace_period, secret=secret)
        return self._client._send(Request("POST", at, body=body, repeatable=False))

    def remove_secret(self, trigger_id: str) -> None:
        """Take calls unsigned from now on."""
        self._client._send(
            Request("DELETE", path("webhook-triggers", "{trigger_id}", "secret", trigger_id=trigger_id))
        )

    def run(self, trigger_id: str, *, payload: Any = NOT_GIVEN) -> Envelope[Execution]:
        """Run a trigger's agent now, as its schedule would, and also without one.

        ``payload`` is the agent's input; left out it is that of the schedule, else ``{}``.
        """
        at = path("webhook-triggers", "{trigger_id}", "run", trigger_id=trigger_id)
        return self._client._send(Request("POST", at, body=fields({"payload": payload}), repeatable=False))

    def test(
        self,
        trigger_id: str,
        *,
        payload: Any = NOT_GIVEN,
        headers: Optional[Mapping[str, str]] = None,
        query: Optional[Mapping[str, str]] = None,
        signature: Optional[str] = None,
        execution_id: Optional[str] = None,
        options: Optional[Mapping[str, Any]] = None,
    ) -> Envelope[TestOutcome]:
        """Tell what would become of a call; nothing is run and nothing recorded.

        It is one that is given, with ``payload``, or one on record, with ``execution_id`` (of a
        call that was filtered, its event's id). ``headers`` and ``query`` are those of the call.
        ``signature`` is what X-Webhook-Signature would have, of the payload as compact JSON.
        ``options`` take the place of the trigger's, by their names.
        """
        body = fields(
            {"payload": payload},
            headers=headers,
            query=query,
            signature=signature,
            execution_id=execution_id,
            options=options,
        )
        at = path("webhook-triggers", "{trigger_id}", "test", trigger_id=trigger_id)
        return self._client._send(Request("POST", at, body=body))

    def test_since(
        self,
        trigger_id: str,
        *,
        since: Moment,
        limit: Optional[int] = None,
        options: Optional[Mapping[str, Any]] = None,
        headers: Optional[Mapping[str, str]] = None,
        query: Optional[Mapping[str, str]] = None,
    ) -> Envelope[TestSummary]:
        """Tell what would become of the calls on record ``since`` a time, such as under other
        ``options``; nothing is run and nothing recorded.

        The newest are tried first, ``limit`` of them: 1 to 1000, by default 100. ``headers`` and
        ``query`` are what is not on record of them.
        """
        body = fields({}, since=since, limit=limit, options=options, headers=headers, query=query)
        at = path("webhook-triggers", "{trigger_id}", "test", trigger_id=trigger_id)
        return self._client._send(Request("POST", at, body=body))

    def events(
        self,
        trigger_id: str,
        *,
        type: Optional[str] = None,
        actor: Optional[str] = None,
        since: Optional[Moment] = None,
        until: Optional[Moment] = None,
        after: Optional[int] = None,
        page: Optional[int] = None,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
    ) -> Page[Event]:
        """Give a page of a trigger's events, also of one that was deleted: the newest first, or
        with ``after`` onwards from that position."""
        query = {
            "type": type,
            "actor": actor,
            "since": since,
            "until": until,
            "after": after,
            "page": page,
            "limit": limit,
            "cursor": cursor,
        }
        return self._client._send(
            Request("GET", path("webhook-triggers", "{trigger_id}", "events", trigger_id=trigger_id), query)
        )

    def history(
        self,
        trigger_id: str,
        *,
        from_: Optional[Union[Moment, int]] = None,
        to: Optional[Union[Moment, int]] = None,
        limit: Optional[int] = None,
    ) -> Envelope[History]:
        """Tell who did what to a trigger, and what that changed, also to one that was deleted.

        ``from_`` and ``to`` are times or positions in the log, by default the beginning and now;
        ``changes`` is what is different between the two. ``limit`` is how many events are told,
        from 1 to 100, by default 100; with ``next_from`` as ``from_`` the rest is.
        """
        at = path("webhook-triggers", "{trigger_id}", "history", trigger_id=trigger_id)
        return self._history(at, from_, to, limit)


class Agents(_Resource):
    """Agents: what triggers run."""

    def create(
        self,
        *,
        name: str,
        type: Optional[str] = None,
        description: Optional[str] = None,
        runner: Optional[Mapping[str, Any]] = None,
        input_schema: Any = NOT_GIVEN,
        timeout_seconds: Optional[int] = None,
        retry: Optional[Mapping[str, Any]] = None,
        max_concurrency: Optional[int] = None,
    ) -> Envelope[IssuedAgent]:
        """Create an agent.

        ``runner`` says how it is run, such as ``{"kind": "http", "url": …}``; then the result's
        ``signing_secret`` is shown this once. ``input_schema`` is a JSON Schema that inputs must
        fit. ``timeout_seconds``, 1 to 86400, is for one attempt. ``retry`` says how often and when
        a failed attempt is made again. ``max_concurrency`` bounds the runs at one time; 0 does not.
        """
        body = fields(
            {"input_schema": input_schema},
            name=name,
            type=type,
            description=description,
            runner=runner,
            timeout_seconds=timeout_seconds,
            retry=retry,
            max_concurrency=max_concurrency,
        )
        return self._client._send(Request("POST", path("agents"), body=body, repeatable=False))

    def list(
        self,
        *,
        name: Optional[str] = None,
        page: Optional[int] = None,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
    ) -> Page[Agent]:
        """Give a page of the agents that are not archived; ``name`` is a part of theirs."""
        return self._client._send(
            Request("GET", path("agents"), {"name": name, "page": page, "limit": limit, "cursor": cursor})
        )

    def list_all(self, *, name: Optional[str] = None, limit: int = 100) -> Iterator[Agent]:
        """Go through all agents that are not archived."""
        for entry in self._client._each(path("agents"), limit, name=name):
            yield entry

    def get(self, agent_id: str, *, as_of: Optional[Union[Moment, int]] = None) -> Envelope[Agent]:
        """Get an agent as it is, or as it was at a time or just behind a position in the log."""
        return self._client._send(
            Request("GET", path("agents", "{agent_id}", agent_id=agent_id), {"as_of": as_of})
        )

    def update(
        self,
        agent_id: str,
        *,
        name: Optional[str] = None,
        type: Optional[str] = None,
        description: Optional[str] = None,
        runner: Optional[Mapping[str, Any]] = None,
        input_schema: Any = NOT_GIVEN,
        timeout_seconds: Optional[int] = None,
        retry: Optional[Mapping[str, Any]] = None,
        max_concurrency: Optional[int] = None,
        if_version: Optional[int] = None,
    ) -> Envelope[IssuedAgent]:
        """Change what is given; ``runner`` and ``retry`` are replaced as a whole, and
        ``input_schema=None`` takes the schema away.

        With ``if_version`` the agent must still have that version; if not, it is a
        :class:`ConflictError`.
        """
        body = fields(
            {"input_schema": input_schema},
            name=name,
            type=type,
            description=description,
            runner=runner,
            timeout_seconds=timeout_seconds,
            retry=retry,
            max_concurrency=max_concurrency,
        )
        at = path("agents", "{agent_id}", agent_id=agent_id)
        # The answer to a new runner may show a secret; to a repeat it would not.
        repeatable = if_version is None and runner is None
        return self._client._send(
            Request("PATCH", at, body=body, headers=if_match(if_version), repeatable=repeatable)
        )

    def delete(self, agent_id: str, *, if_version: Optional[int] = None) -> None:
        """Archive an agent: a :class:`ConflictError` while triggers run it. Its executions stay."""
        self._client._send(
            Request("DELETE", path("agents", "{agent_id}", agent_id=agent_id), headers=if_match(if_version))
        )

    def execute(
        self,
        agent_id: str,
        *,
        input: Any = NOT_GIVEN,
        sync: Optional[bool] = None,
        session_id: Optional[str] = None,
        user_id: Optional[str] = None,
        metadata: Optional[Mapping[str, str]] = None,
    ) -> Envelope[Execution]:
        """Run an agent without a trigger. ``sync`` waits for the end, at most 60 seconds."""
        body = fields({"input": input}, sync=sync, session_id=session_id, user_id=user_id, metadata=metadata)
        at = path("agents", "{agent_id}", "execute", agent_id=agent_id)
        patience = _LONGEST_WAIT if sync else 0
        return self._client._send(Request("POST", at, body=body, repeatable=False, patience=patience))

    def history(
        self,
        agent_id: str,
        *,
        from_: Optional[Union[Moment, int]] = None,
        to: Optional[Union[Moment, int]] = None,
        limit: Optional[int] = None,
    ) -> Envelope[History]:
        """Tell who did what to an agent, and what that changed, also to one that was archived.

        ``from_`` and ``to`` are times or positions in the log, by default the beginning and now;
        ``changes`` is what is different between the two. ``limit`` is how many events are told,
        from 1 to 100, by default 100; with ``next_from`` as ``from_`` the rest is.
        """
        at = path("agents", "{agent_id}", "history", agent_id=agent_id)
        return self._history(at, from_, to, limit)


class Executions(_Resource):
    """Executions: runs of agents."""

    def list(
        self,
        *,
        agent_id: Optional[str] = None,
        trigger_id: Optional[str] = None,
        session_id: Optional[str] = None,
        status: Optional[str] = None,
        since: Optional[Moment] = None,
        until: Optional[Moment] = None,
        page: Optional[int] = None,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
    ) -> Page[Execution]:
        """Give a page of the executions, the newest first, without their attempts and without
        inputs and outputs of more than 64 KiB."""
        query = {
            "agent_id": agent_id,
            "trigger_id": trigger_id,
            "session_id": session_id,
            "status": status,
            "since": since,
            "until": until,
            "page": page,
            "limit": limit,
            "cursor": cursor,
        }
        return self._client._send(Request("GET", path("executions"), query))

    def list_all(
        self,
        *,
        agent_id: Optional[str] = None,
        trigger_id: Optional[str] = None,
        session_id: Optional[str] = None,
        status: Optional[str] = None,
        since: Optional[Moment] = None,
        until: Optional[Moment] = None,
        limit: int = 100,
    ) -> Iterator[Execution]:
        """Go through all executions, the newest first."""
        for entry in self._client._each(
            path("executions"),
            limit,
            agent_id=agent_id,
            trigger_id=trigger_id,
            session_id=session_id,
            status=status,
            since=since,
            until=until,
        ):
            yield entry

    def get(self, execution_id: str, *, as_of: Optional[Union[Moment, int]] = None) -> Envelope[Execution]:
        """Get an execution with its attempts, as it is or as it was at a time or position."""
        at = path("executions", "{execution_id}", execution_id=execution_id)
        return self._client._send(Request("GET", at, {"as_of": as_of}))

    def cancel(self, execution_id: str, *, reason: Optional[str] = None) -> Envelope[Execution]:
        """Cancel an execution: a :class:`ConflictError` when it has ended."""
        at = path("executions", "{execution_id}", "cancel", execution_id=execution_id)
        return self._client._send(Request("POST", at, body=fields({}, reason=reason), repeatable=False))

    def retry(self, execution_id: str) -> Envelope[Execution]:
        """Run an execution that has ended once more, as a new one with ``retry_of``."""
        at = path("executions", "{execution_id}", "retry", execution_id=execution_id)
        return self._client._send(Request("POST", at, repeatable=False))

    def report(
        self, execution_id: str, *, output: Any = NOT_GIVEN, error: Optional[Mapping[str, Any]] = None
    ) -> Envelope[Execution]:
        """Report the result of work done outside, for an agent of the runner ``none``: an
        ``output``, or an ``error`` with ``code`` and ``message``."""
        at = path("executions", "{execution_id}", "report", execution_id=execution_id)
        return self._client._send(
            Request("POST", at, body=fields({"output": output}, error=error), repeatable=False)
        )

    def wait(self, execution_id: str, *, timeout: float = 60.0) -> Envelope[Execution]:
        """Wait until an execution has ended, well or not, and give it.

        Raises :class:`WaitTimeoutError` after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        pause = 0.05
        while True:
            execution = self.get(execution_id)
            status = execution["data"]["status"]
            if status in _ENDED:
                return execution
            left = deadline - time.monotonic()
            if left <= 0:
                raise WaitTimeoutError(
                    f"the execution {execution_id} is {status} after {timeout:g} seconds",
                    execution_id=execution_id,
                    status=status,
                )
            sleep(min(pause, left))
            pause = min(pause * 1.5, 2.0)

    def received(self, execution_id: str) -> Envelope[Received]:
        """Give what a webhook call brought, by the id of its execution or, for a call that was
        filtered, of its event."""
        at = path("executions", "{execution_id}", "received", execution_id=execution_id)
        return self._client._send(Request("GET", at))

    def history(
        self,
        execution_id: str,
        *,
        from_: Optional[Union[Moment, int]] = None,
        to: Optional[Union[Moment, int]] = None,
        limit: Optional[int] = None,
    ) -> Envelope[History]:
        """Tell who did what to an execution, and what that changed.

        ``from_`` and ``to`` are times or positions in the log, by default the beginning and now;
        ``changes`` is what is different between the two. ``limit`` is how many events are told,
        from 1 to 100, by default 100; with ``next_from`` as ``from_`` the rest is.
        """
        at = path("executions", "{execution_id}", "history", execution_id=execution_id)
        return self._history(at, from_, to, limit)


class Events(_Resource):
    """The log of all that happened."""

    def list(
        self,
        *,
        stream: Optional[str] = None,
        type: Optional[str] = None,
        actor: Optional[str] = None,
        since: Optional[Moment] = None,
        until: Optional[Moment] = None,
        after: Optional[int] = None,
        page: Optional[int] = None,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
    ) -> Page[Event]:
        """Give a page of the events: the newest first, or with ``after`` onwards from that
        position in the log (0 is its beginning)."""
        query = {
            "stream": stream,
            "type": type,
            "actor": actor,
            "since": since,
            "until": until,
            "after": after,
            "page": page,
            "limit": limit,
            "cursor": cursor,
        }
        return self._client._send(Request("GET", path("events"), query))

    def list_all(
        self,
        *,
        stream: Optional[str] = None,
        type: Optional[str] = None,
        actor: Optional[str] = None,
        since: Optional[Moment] = None,
        until: Optional[Moment] = None,
        after: Optional[int] = None,
        limit: int = 100,
    ) -> Iterator[Event]:
        """Go through all events: the newest first, or with ``after`` onwards from there."""
        for entry in self._client._each(
            path("events"), limit, stream=stream, type=type, actor=actor, since=since, until=until, after=after
        ):
            yield entry

    def tail(
        self,
        *,
        after: Optional[int] = None,
        stream: Optional[str] = None,
        type: Optional[str] = None,
        actor: Optional[str] = None,
        since: Optional[Moment] = None,
        until: Optional[Moment] = None,
        stop_after: Optional[int] = None,
        poll_interval: float = 1.0,
    ) -> EventTail:
        """Follow the log, in its order: from behind the position ``after``, or else from what is
        new when the first event is asked for.

        It goes on for ever, unless ``stop_after`` says how many events to give. Events come as
        they are recorded, by a stream that is opened again where it breaks; where a server or a
        proxy does not offer it, the log is asked for every ``poll_interval`` seconds. Its
        ``position`` is the place to resume from; ``close`` ends it.
        """
        if not poll_interval > 0:
            raise ValueError("poll_interval must be more than 0 seconds")
        filters = {"stream": stream, "type": type, "actor": actor, "since": since, "until": until}
        return EventTail(self, filters, after, stop_after, poll_interval)


class EventTail:
    """Events as they happen. After an error it may be asked for the next one again: none is
    left out, none comes twice."""

    def __init__(
        self,
        events: Events,
        filters: dict[str, Any],
        after: Optional[int],
        stop_after: Optional[int],
        poll_interval: float,
    ) -> None:
        self._events = events
        self._filters = filters
        self._position = after
        self._left = stop_after
        self._poll_interval = poll_interval
        self._fetched: deque[tuple[int, Optional[Event]]] = deque()
        self._caught_up = False
        self._stream: Optional[Stream] = None
        self._reader = Reader()
        self._resumes = False
        self._begun = False
        self._breaks = 0
        self._polls = False

    @property
    def position(self) -> Optional[int]:
        """Resume with ``tail(after=position)``: where the last event was that was given, or
        further on, if the server has said that no more are before there. ``None`` before the
        start, if that was to be the log's end."""
        return self._position

    def close(self) -> None:
        """End the connection that it has. Asked for the next event, it opens another."""
        if self._stream is not None:
            self._stream.drop()
            self._stream = None
        self._fetched.clear()

    def __del__(self) -> None:
        if getattr(self, "_stream", None) is not None:
            self.close()

    def __iter__(self) -> EventTail:
        return self

    def __next__(self) -> Event:
        if self._left is not None and self._left <= 0:
            raise StopIteration
        if self._position is None:
            newest = (self._events.list(limit=1))["data"]
            self._position = newest[0]["position"] if newest else 0
        while True:
            while self._fetched:
                position, event = self._fetched.popleft()
                if position <= self._position:
                    continue
                self._position = position
                if event is None:
                    continue
                if self._left is not None:
                    self._left -= 1
                    if self._left <= 0:
                        self.close()
                return event
            if self._polls:
                self._poll()
            else:
                self._listen()

    def _poll(self) -> None:
        if self._caught_up:
            sleep(self._poll_interval)
        page = self._events.list(after=self._position, limit=100, **self._filters)
        self._caught_up = page.next_cursor is None
        self._fetched.extend((event["position"], event) for event in page["data"])

    def _listen(self) -> None:
        """Take what comes by the stream, or open it."""
        if self._stream is None:
            if self._breaks:
                sleep(min(FIRST_PAUSE * 2 ** (self._breaks - 1), LONGEST_PAUSE))
            self._stream = self._events._client._listen(self._request())
            self._polls = self._stream is None
            self._reader, self._begun = Reader(), False
            return
        self._resumes = True
        stream, self._stream = self._stream, None
        try:
            piece = stream.read(SILENCE)
            if piece:
                messages = self._reader.feed(piece)
                self._stream = stream
                self._begun = True
                self._breaks = 0 if messages else self._breaks
                self._fetched.extend(
                    (position, None if event is None else cast(Event, Record(event))) for position, event in messages
                )
                return
        except APITimeoutError:
            # What has never come is held back on the way.
            self._polls = not self._begun
        except APIConnectionError:
            pass
        finally:  # also when it is interrupted: there may be half a piece
            if self._stream is None:
                stream.drop()
        self._breaks += 1

    def _request(self) -> Request:
        headers = {"Accept": "text/event-stream, application/json"}
        if self._resumes:
            headers["Last-Event-ID"] = str(self._position)
        return Request("GET", path("events", "stream"), {**self._filters, "after": self._position}, headers=headers)


class Rejections(_Resource):
    """Webhook calls that were refused; alike ones of a minute are one entry with a count."""

    def list(
        self,
        *,
        trigger_id: Optional[str] = None,
        reason: Optional[str] = None,
        since: Optional[Moment] = None,
        until: Optional[Moment] = None,
        page: Optional[int] = None,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
    ) -> Page[Rejection]:
        """Give a page of the rejections, the latest first; ``reason`` is the code that the calls
        were refused with, such as ``invalid_signature``."""
        query = {
            "trigger_id": trigger_id,
            "reason": reason,
            "since": since,
            "until": until,
            "page": page,
            "limit": limit,
            "cursor": cursor,
        }
        return self._client._send(Request("GET", path("rejections"), query))

    def list_all(
        self,
        *,
        trigger_id: Optional[str] = None,
        reason: Optional[str] = None,
        since: Optional[Moment] = None,
        until: Optional[Moment] = None,
        limit: int = 100,
    ) -> Iterator[Rejection]:
        """Go through all rejections, the latest first."""
        for entry in self._client._each(
            path("rejections"), limit, trigger_id=trigger_id, reason=reason, since=since, until=until
        ):
            yield entry


class APIKeys(_Resource):
    """Keys to the API."""

    def create(
        self, *, name: str, scopes: Sequence[str], expires_at: Optional[Union[str, datetime]] = None
    ) -> Envelope[IssuedAPIKey]:
        """Create an API key, which is shown this once. ``scopes`` are some of your own key's."""
        listed = scopes if isinstance(scopes, str) else [*scopes]
        body = fields({}, name=name, scopes=listed, expires_at=expires_at)
        return self._client._send(Request("POST", path("api-keys"), body=body, repeatable=False))

    def list(
        self, *, page: Optional[int] = None, limit: Optional[int] = None, cursor: Optional[str] = None
    ) -> Page[APIKey]:
        """Give a page of the keys that are not revoked."""
        return self._client._send(
            Request("GET", path("api-keys"), {"page": page, "limit": limit, "cursor": cursor})
        )

    def list_all(self, *, limit: int = 100) -> Iterator[APIKey]:
        """Go through all keys that are not revoked."""
        for entry in self._client._each(path("api-keys"), limit):
            yield entry

    def delete(self, api_key_id: str) -> None:
        """Revoke a key. It ends at once."""
        self._client._send(Request("DELETE", path("api-keys", "{api_key_id}", api_key_id=api_key_id)))

    def get(self, api_key_id: str, *, as_of: Optional[Union[Moment, int]] = None) -> Envelope[APIKey]:
        """Get a key, as it is or as it was, without its text."""
        return self._client._send(
            Request("GET", path("api-keys", "{api_key_id}", api_key_id=api_key_id), {"as_of": as_of})
        )

    def history(
        self,
        api_key_id: str,
        *,
        from_: Optional[Union[Moment, int]] = None,
        to: Optional[Union[Moment, int]] = None,
        limit: Optional[int] = None,
    ) -> Envelope[History]:
        """Tell who did what to a key, and what that changed, also to one that was revoked.

        ``from_`` and ``to`` are times or positions in the log, by default the beginning and now;
        ``changes`` is what is different between the two. ``limit`` is how many events are told,
        from 1 to 100, by default 100; with ``next_from`` as ``from_`` the rest is.
        """
        at = path("api-keys", "{api_key_id}", "history", api_key_id=api_key_id)
        return self._history(at, from_, to, limit)


class Subscriptions(_Resource):
    """Receivers that events are posted to."""

    def create(
        self,
        *,
        name: str,
        url: str,
        types: Optional[Sequence[str]] = None,
        streams: Optional[Sequence[str]] = None,
        trigger_id: Optional[str] = None,
        agent_id: Optional[str] = None,
        is_active: Optional[bool] = None,
        from_: Optional[Union[str, int]] = None,
    ) -> Envelope[IssuedSubscription]:
        """Create a subscription. Its secret is shown this once.

        ``types`` and ``streams`` may be beginnings that end in ``*``; without them all events
        fit. ``from_`` is where deliveries begin: ``"now"`` (the default), ``"beginning"``, or the
        position of the first event to deliver.
        """
        body = fields(
            {},
            name=name,
            url=url,
            types=types,
            streams=streams,
            trigger_id=trigger_id,
            agent_id=agent_id,
            is_active=is_active,
            **{"from": from_},
        )
        return self._client._send(Request("POST", path("subscriptions"), body=body, repeatable=False))

    def list(
        self,
        *,
        is_active: Optional[bool] = None,
        page: Optional[int] = None,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
    ) -> Page[Subscription]:
        """Give a page of the subscriptions, the newest first."""
        query = {"is_active": is_active, "page": page, "limit": limit, "cursor": cursor}
        return self._client._send(Request("GET", path("subscriptions"), query))

    def list_all(self, *, is_active: Optional[bool] = None, limit: int = 100) -> Iterator[Subscription]:
        """Go through all subscriptions, the newest first."""
        for entry in self._client._each(path("subscriptions"), limit, is_active=is_active):
            yield entry

    def get(
        self, subscription_id: str, *, as_of: Optional[Union[Moment, int]] = None
    ) -> Envelope[Subscription]:
        """Get a subscription and how its deliveries go, or as it was at a time or position."""
        at = path("subscriptions", "{subscription_id}", subscription_id=subscription_id)
        return self._client._send(Request("GET", at, {"as_of": as_of}))

    def update(
        self,
        subscription_id: str,
        *,
        name: Optional[str] = None,
        url: Optional[str] = None,
        types: Optional[Sequence[str]] = None,
        streams: Optional[Sequence[str]] = None,
        trigger_id: Optional[str] = None,
        agent_id: Optional[str] = None,
        is_active: Optional[bool] = None,
        if_version: Optional[int] = None,
    ) -> Envelope[Subscription]:
        """Change what is given; lists are replaced as a whole. What fails is tried again at once.

        With ``if_version`` the subscription must still have that version; if not, it is a
        :class:`ConflictError`.
        """
        body = fields(
            {},
            name=name,
            url=url,
            types=types,
            streams=streams,
            trigger_id=trigger_id,
            agent_id=agent_id,
            is_active=is_active,
        )
        at = path("subscriptions", "{subscription_id}", subscription_id=subscription_id)
        return self._client._send(
            Request("PATCH", at, body=body, headers=if_match(if_version), repeatable=if_version is None)
        )

    def pause(self, subscription_id: str) -> Envelope[Subscription]:
        """End deliveries until :meth:`resume`."""
        return self.update(subscription_id, is_active=False)

    def resume(self, subscription_id: str) -> Envelope[Subscription]:
        """Let deliveries go on where they ended."""
        return self.update(subscription_id, is_active=True)

    def delete(self, subscription_id: str, *, if_version: Optional[int] = None) -> None:
        """Delete a subscription. Its past stays readable."""
        at = path("subscriptions", "{subscription_id}", subscription_id=subscription_id)
        self._client._send(Request("DELETE", at, headers=if_match(if_version)))

    def rotate_secret(
        self, subscription_id: str, *, grace_period: Optional[int] = None
    ) -> Envelope[IssuedSubscription]:
        """Put a new secret in place, which is shown this once.

        For ``grace_period`` seconds, by default 86400 (a day), deliveries are signed with both.
        """
        at = path("subscriptions", "{subscription_id}", "rotate-secret", subscription_id=subscription_id)
        return self._client._send(
            Request("POST", at, body=fields({}, grace_period=grace_period), repeatable=False)
        )

    def deliveries(self, subscription_id: str) -> Page[Delivery]:
        """Give what waits, what failed of late and what was taken last, the latest first."""
        at = path("subscriptions", "{subscription_id}", "deliveries", subscription_id=subscription_id)
        return self._client._send(Request("GET", at))

    def redeliver(self, subscription_id: str, *, event_id: str) -> Envelope[RedeliveredSubscription]:
        """Send one event once more, now, and tell what came of it."""
        at = path("subscriptions", "{subscription_id}", "redeliver", subscription_id=subscription_id)
        return self._client._send(Request("POST", at, body=fields({}, event_id=event_id), repeatable=False))

    def rewind(self, subscription_id: str, *, from_: Union[str, int]) -> Envelope[Subscription]:
        """Go on with deliveries from ``"beginning"``, ``"now"`` or a position."""
        at = path("subscriptions", "{subscription_id}", "redeliver", subscription_id=subscription_id)
        return self._client._send(Request("POST", at, body=fields({"from": from_}), repeatable=False))

    def skip(self, subscription_id: str, *, event_id: Optional[str] = None) -> Envelope[Subscription]:
        """Give up the event that is failing, so that those behind it are delivered.

        With ``event_id`` it must be that one; if not, it is a :class:`ConflictError`.
        """
        at = path("subscriptions", "{subscription_id}", "skip", subscription_id=subscription_id)
        return self._client._send(Request("POST", at, body=fields({}, event_id=event_id), repeatable=False))

    def history(
        self,
        subscription_id: str,
        *,
        from_: Optional[Union[Moment, int]] = None,
        to: Optional[Union[Moment, int]] = None,
        limit: Optional[int] = None,
    ) -> Envelope[History]:
        """Tell who did what to a subscription, and what that changed, also to one that was deleted.

        ``from_`` and ``to`` are times or positions in the log, by default the beginning and now;
        ``changes`` is what is different between the two. ``limit`` is how many events are told,
        from 1 to 100, by default 100; with ``next_from`` as ``from_`` the rest is.
        """
        at = path("subscriptions", "{subscription_id}", "history", subscription_id=subscription_id)
        return self._history(at, from_, to, limit)


class Audit(_Resource):
    """The signed Merkle tree over the log."""

    def checkpoint(self) -> Envelope[Checkpoint]:
        """Give the latest signed checkpoint; a :class:`ConflictError` when none was made yet."""
        return self._client._send(Request("GET", path("audit", "checkpoint")))

    def receipt(self, event_id: str) -> Envelope[Receipt]:
        """Give the proof that an event is in the log; ``hooktrail audit verify-receipt`` checks it.

        A :class:`ConflictError` while no checkpoint covers the event, which takes up to 10 seconds.
        """
        return self._client._send(Request("GET", path("events", "{event_id}", "proof", event_id=event_id)))
