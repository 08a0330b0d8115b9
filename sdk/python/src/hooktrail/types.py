"""The shapes of what the server gives. At run time they are plain dictionaries.

Times are RFC 3339 in UTC, ids are KSUIDs. A field that is absent is left out or ``None``.
"""

from __future__ import annotations

from typing import Any, Optional, TypedDict


class _Meta(TypedDict):
    total: int
    page: int
    limit: int
    pages: int
    total_pages: int


class Meta(_Meta, total=False):
    """Where in a list a page is. ``next_cursor`` is absent in the last one; with
    ``total_capped`` there are at least ``total`` entries."""

    next_cursor: str
    total_capped: bool


class _Trigger(TypedDict):
    id: str
    workspace_id: str
    agent_id: str
    name: str
    token_prefix: str
    is_active: bool
    has_secret: bool
    created_at: str
    updated_at: str
    url: str
    options: dict[str, Any]
    version: int


class Trigger(_Trigger, total=False):
    last_used_at: str
    created_by_id: str
    next_runs: list[str]
    deleted: bool


class TriggerWithToken(Trigger):
    """A trigger with its new token, and its hook URL, which holds it: shown this once."""

    token: str
    hook_url: str


class TriggerWithSecret(Trigger):
    """A trigger with its new signing secret, shown this once."""

    secret: str


class IssuedTrigger(TriggerWithToken, total=False):
    """A new trigger: ``secret`` is there if it has one."""

    secret: str


class _TestError(TypedDict):
    code: str
    message: str


class TestError(_TestError, total=False):
    """Why a call would be refused."""

    details: dict[str, str]


class _TestOutcome(TypedDict):
    status: str
    signature: str
    is_active: bool


class TestOutcome(_TestOutcome, total=False):
    """What would become of a call. ``status`` is one of accepted, filtered, refused; ``signature``
    of not_required, valid, invalid, not_given, not_checked; ``input`` is what the agent would get."""

    event: str
    headers: dict[str, str]
    query: dict[str, str]
    input: Any
    error: TestError


class _TestExample(TypedDict):
    execution_id: str
    created_at: str
    was: str
    would: str


class TestExample(_TestExample, total=False):
    """A call of which something else would become than did."""

    event: str
    input: Any
    error: TestError


class TestReason(TypedDict):
    message: str
    calls: int


class _TestSummary(TypedDict):
    since: str
    examined: int
    complete: bool
    accepted: int
    filtered: int
    refused: int
    erased: int
    changed: int
    examples: list[TestExample]


class TestSummary(_TestSummary, total=False):
    """What would become of the calls on record: ``changed`` counts those of which something else
    would become than did. ``complete`` is false when there are more than were tried."""

    until: str
    reasons: list[TestReason]


class Runner(TypedDict, total=False):
    kind: str
    url: str
    headers: dict[str, str]
    command: list[str]
    base_url: str
    model: str
    system: str
    prompt: str
    temperature: float
    max_tokens: int
    max_completion_tokens: int
    response_format: str


class Retry(TypedDict, total=False):
    max_attempts: int
    initial_seconds: float
    max_seconds: float
    factor: float


class _Agent(TypedDict):
    id: str
    workspace_id: str
    name: str
    runner: Runner
    timeout_seconds: int
    retry: Retry
    max_concurrency: int
    has_credential: bool
    status: str
    created_at: str
    updated_at: str
    version: int


class Agent(_Agent, total=False):
    type: str
    description: str
    input_schema: Any
    credential_hint: str
    created_by_id: str


class IssuedAgent(Agent, total=False):
    """``signing_secret`` is there when the runner has become ``http``: shown this once."""

    signing_secret: str


class _Attempt(TypedDict):
    attempt: int
    status: str


class Attempt(_Attempt, total=False):
    worker: str
    started_at: str
    ended_at: str
    error: str
    error_code: str
    retry_at: str


class TokenUsage(TypedDict):
    """What a model counted for the attempt that succeeded."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _Execution(TypedDict):
    id: str
    execution_id: str
    agent_id: str
    workspace_id: str
    status: str
    created_at: str
    attempt: int
    version: int
    position: int


class Execution(_Execution, total=False):
    """``status`` is one of pending, running, completed, failed, cancelled."""

    trigger_id: str
    user_id: str
    session_id: str
    input: Any
    output: Any
    error: str
    error_code: str
    metadata: dict[str, str]
    token_usage: TokenUsage
    duration_ms: int
    retry_of: str
    started_at: str
    completed_at: str
    next_attempt_at: str
    attempts: list[Attempt]


class _Invocation(TypedDict):
    status: str


class Invocation(_Invocation, total=False):
    """What a webhook call gave: an execution that is pending, or with ``wait`` one that has
    ended; ``filtered`` where the trigger's filter is against it; from a trigger that answers so
    while it is inactive, ``ignored`` with a reason."""

    id: str
    execution_id: str
    trigger_id: str
    agent_id: str
    created_at: str
    reason: str
    input: Any
    output: Any
    error: str
    error_code: str
    duration_ms: int
    attempts: list[Attempt]


class _Event(TypedDict):
    position: int
    id: str
    stream: str
    version: int
    type: str
    schema_version: int
    time: str
    workspace_id: str
    actor: str
    data: dict[str, Any]


class Event(_Event, total=False):
    request_id: str
    traceparent: str
    causation_id: str
    correlation_id: str


class _Rejection(TypedDict):
    reason: str
    message: str
    count: int
    first_at: str
    last_at: str


class Rejection(_Rejection, total=False):
    """Calls of one minute that were refused alike; ``message`` and ``request_id`` are the last
    one's. Without a known token there is no trigger."""

    trigger_id: str
    workspace_id: str
    token_prefix: str
    client_ip: str
    request_id: str


class _APIKey(TypedDict):
    id: str
    workspace_id: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: str


class APIKey(_APIKey, total=False):
    """``revoked`` is told of the past only."""

    expires_at: str
    created_by_id: str
    revoked: bool


class IssuedAPIKey(APIKey):
    """A new API key; ``key`` is shown this once."""

    key: str


class Me(TypedDict):
    workspace_id: str
    api_key: APIKey
    actor: str


class _Change(TypedDict):
    field: str


class Change(_Change, total=False):
    """A field that differs, with its parents (``options.rate_limit``). ``before`` or ``after`` is
    missing where the field was not there."""

    before: Any
    after: Any


class _Actor(TypedDict):
    id: str
    kind: str


class Actor(_Actor, total=False):
    """Who caused an event: ``kind`` is api_key, trigger, worker or system."""

    name: str
    prefix: str


class _HistoryEvent(TypedDict):
    position: int
    id: str
    time: str
    type: str
    summary: str
    actor: Actor
    version: int
    changes: list[Change]


class HistoryEvent(_HistoryEvent, total=False):
    request_id: str


_History = TypedDict(
    "_History", {"stream": str, "from": int, "to": int, "changes": list[Change], "events": list[HistoryEvent]}
)


class History(_History, total=False):
    """What happened behind the position ``from``, up to and with ``to``. ``changes`` is what is
    different between the two; ``next_from`` is where the rest begins, if that is not all."""

    next_from: int


class _Received(TypedDict):
    event_id: str
    type: str
    media_type: str
    sha256: str
    size: int
    mapped: bool


class Received(_Received, total=False):
    """What a webhook call brought. ``body`` is ``None`` when it was erased."""

    body: Optional[str]
    event: str
    headers: dict[str, str]
    query: dict[str, str]


class _Delivery(TypedDict):
    position: int
    event_id: str
    type: str
    stream: str
    status: str


class Delivery(_Delivery, total=False):
    """The delivery of one event: pending, failing, delivered or skipped; failed for one that was
    sent again by request. ``rejected`` says that the receiver will not take it."""

    attempts: int
    failing_since: str
    last_attempt_at: str
    next_attempt_at: str
    response_status: int
    error: str
    rejected: bool


class _Subscription(TypedDict):
    id: str
    workspace_id: str
    name: str
    url: str
    format: str
    is_active: bool
    created_at: str
    updated_at: str
    version: int


class Subscription(_Subscription, total=False):
    """A receiver of events. ``position`` is that up to which all that fits has been delivered or
    skipped; of the past it is not known. ``failing`` holds back the events behind it."""

    types: list[str]
    streams: list[str]
    trigger_id: str
    agent_id: str
    disabled_at: str
    disabled_code: str
    disabled_reason: str
    position: int
    failing: Delivery
    last_success: Delivery
    created_by_id: str
    deleted: bool


class IssuedSubscription(Subscription):
    """``secret`` verifies deliveries by Standard Webhooks: shown this once."""

    secret: str


class RedeliveredSubscription(Subscription, total=False):
    """``redelivery`` is what came of the event that was sent again."""

    redelivery: Delivery


class Checkpoint(TypedDict):
    """A signed statement of what the first ``size`` events of the log are."""

    origin: str
    size: int
    root: str
    note: str
    created_at: str
    verifier_key: str


class Receipt(TypedDict):
    """The proof that an event is in the log."""

    format: str
    event_id: str
    index: int
    leaf: str
    hashes: list[str]
    checkpoint: str
    verifier_key: str
