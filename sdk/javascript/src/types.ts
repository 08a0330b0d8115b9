// What requests and answers hold. Answers have the names of the contract, in snake_case.

/** One thing. */
export interface Envelope<T> {
  data: T;
  /** Fields of the request that the server did not know, and did not use. */
  warnings?: string[];
}

/** A part of a list. */
export interface List<T> {
  data: T[];
  meta: Meta;
}

/** Where in the list a part is. */
export interface Meta {
  /** How many entries the whole list has; counting ends at 10000. */
  total: number;
  /** There are at least as many as `total`. */
  total_capped?: boolean;
  page: number;
  limit: number;
  pages: number;
  total_pages: number;
  /** For the next part; absent in the last one. */
  next_cursor?: string;
}

/** Which part of a list. */
export interface Paging {
  /** From 1. */
  page?: number | undefined;
  /** Entries a page, 1 to 100; the server's default is 20, that of `listAll` 100. */
  limit?: number | undefined;
  /** `meta.next_cursor` of the part before, in place of `page`. */
  cursor?: string | undefined;
}

/** A time as RFC 3339 text or as a Date. */
export type Moment = string | Date;

export interface TriggerOptions {
  /** Calls a minute and client IP, 0 to 1000000; 0 switches the limit off. */
  rate_limit?: number | null;
  /** Addresses or CIDR ranges that may call; empty means any. */
  allowed_ips?: string[] | null;
  /** How calls are answered while the trigger is inactive. */
  inactive_status?: 200 | 403 | 410 | null;
  /** When the trigger becomes inactive by itself. */
  expires_at?: string | null;
  /** Most bytes of a call's body, up to 26214400. */
  max_body_bytes?: number | null;
  /** A CEL expression over `payload`, `headers`, `query` and `event`: calls for which it is false are not run. */
  filter?: string | null;
  /** Makes the agent's input of a call, in one of four languages. */
  input_mapping?: { jq: string } | { cel: Record<string, string> } | { template: Record<string, string> } | { preset: string } | null;
  /** Makes the trigger fire by itself. */
  schedule?: Schedule | null;
  /** What servers newer than this library take. */
  [option: string]: unknown;
}

export interface Schedule {
  /** Minute, hour, day of month, month, day of week; six fields begin with seconds. Or `@daily`, `@every 90s` … */
  cron: string;
  /** A name of the IANA database; UTC unless given. */
  time_zone?: string;
  /** The agent's input; `{}` unless given. */
  payload?: unknown;
  /** What happens to runs whose time passed while no server could make them; `once` unless given. */
  missed?: "once" | "skip" | "all";
}

export interface Trigger {
  id: string;
  workspace_id: string;
  agent_id: string;
  name: string;
  /** The first characters of the token, to recognise it by. */
  token_prefix: string;
  is_active: boolean;
  /** Calls must be signed. */
  has_secret: boolean;
  /** Absent until it is first called. */
  last_used_at?: string;
  created_by_id?: string;
  created_at: string;
  updated_at: string;
  /** Where to send calls with the token as `Authorization`. */
  url: string;
  options: TriggerOptions;
  /** The next times of the schedule, up to 5. */
  next_runs?: string[];
  /** Only in a view of the past. */
  deleted?: boolean;
  version: number;
}

/** A trigger with its token, which is shown only now. */
export interface TriggerWithToken extends Trigger {
  token: string;
  /** Where to send calls that cannot carry the token otherwise. It holds the token. */
  hook_url: string;
}

/** A new trigger with its token and its secret, if it has one, which are shown only now. */
export interface IssuedTrigger extends TriggerWithToken {
  secret?: string;
}

/** A trigger with its new secret, which is shown only now. */
export interface TriggerWithSecret extends Trigger {
  secret: string;
}

export interface CreateTrigger {
  agentId: string;
  name: string;
  /** Make a signing secret; calls must be signed then. */
  generateSecret?: boolean | undefined;
  /** A signing secret of one's own, 16 to 256 bytes. */
  secret?: string | undefined;
  /** True unless given. */
  isActive?: boolean | undefined;
  options?: TriggerOptions | undefined;
}

/** What is left out stays as it is. */
export interface UpdateTrigger {
  name?: string | undefined;
  isActive?: boolean | undefined;
  agentId?: string | undefined;
  /** Merged key by key; null removes one. */
  options?: TriggerOptions | undefined;
}

export interface RunTrigger {
  /** The agent's input; unless given that of the schedule, else `{}`. */
  payload?: unknown;
}

/** What calls are tried with, beside themselves. */
export interface TestConditions {
  /** In place of the trigger's, key by key. */
  options?: TriggerOptions | undefined;
  /** Of the call; of calls on record, what is not on record of them. */
  headers?: Record<string, string> | undefined;
  query?: Record<string, string> | undefined;
}

/** A call to try: one that is given, with `payload`, or one on record, with `executionId`. */
export interface TestTrigger extends TestConditions {
  payload?: unknown;
  /** As `X-Webhook-Signature` would have it, of the text that JSON.stringify makes of the payload. */
  signature?: string | undefined;
  /** Of a call on record; of one that was filtered its event's id. */
  executionId?: string | undefined;
}

export interface TestSince extends TestConditions {
  /** Try all calls on record since then, the newest first. */
  since: Moment;
  /** How many, 1 to 1000; 100 unless given. */
  limit?: number | undefined;
}

/** What would become of a call. */
export interface TestOutcome {
  status: "accepted" | "filtered" | "refused";
  /** `not_checked` for a call on record, whose signature is not kept. */
  signature: "not_required" | "valid" | "invalid" | "not_given" | "not_checked";
  /** An inactive trigger refuses all calls. */
  is_active: boolean;
  /** The sender's name for what happened. */
  event?: string;
  headers?: Record<string, string>;
  query?: Record<string, string>;
  /** What the agent would get. */
  input?: unknown;
  /** Why it would be refused. */
  error?: TestError;
}

export interface TestError {
  code: string;
  message: string;
  details?: Record<string, string>;
}

/** What would become of the calls on record. */
export interface TestSummary {
  since: string;
  /** When the oldest came that was tried. */
  until?: string;
  examined: number;
  /** False when there are more than `limit`, or than there was time for. */
  complete: boolean;
  accepted: number;
  filtered: number;
  refused: number;
  /** Their bodies are gone. */
  erased: number;
  /** Of these something else would become than did. */
  changed: number;
  examples: TestExample[];
  /** Why calls would be refused, the most frequent first. */
  reasons?: { message: string; calls: number }[];
}

export interface TestExample {
  /** The event's id, when the call was filtered. */
  execution_id: string;
  created_at: string;
  was: "accepted" | "filtered";
  would: "accepted" | "filtered" | "refused";
  event?: string;
  /** Left out above 4 KiB. */
  input?: unknown;
  error?: TestError;
}

export interface TriggerFilter extends Paging {
  agentId?: string | undefined;
  isActive?: boolean | undefined;
  /** A part of the name, in any case. */
  name?: string | undefined;
}

export interface RotateToken {
  /** Seconds in which the old one works too, 0 to 2592000; 86400 unless given, 0 ends it at once. */
  gracePeriod?: number | undefined;
}

export interface RotateSecret extends RotateToken {
  /** A secret of one's own, 16 to 256 bytes; one is made unless given. */
  secret?: string | undefined;
}

export interface Runner {
  kind?: "http" | "command" | "none" | "echo" | (string & {});
  /** Of the runner http. */
  url?: string;
  /** Sent with the requests of the runner http; nothing secret, as they are on record. */
  headers?: Record<string, string>;
  /** The program and its arguments, of the runner command. */
  command?: string[];
  [field: string]: unknown;
}

/** How failed attempts are made again; 0 stands for the default. */
export interface Retry {
  max_attempts?: number;
  initial_seconds?: number;
  max_seconds?: number;
  factor?: number;
}

export interface Agent {
  id: string;
  workspace_id: string;
  name: string;
  type?: string;
  description?: string;
  runner: Runner;
  input_schema?: unknown;
  /** How long one attempt may take. */
  timeout_seconds: number;
  retry: Retry;
  /** How many runs at one time; 0 is no bound. */
  max_concurrency: number;
  /** The agent is called with a key or token, which is never shown. */
  has_credential: boolean;
  /** How it ends, if it has at least 16 characters. */
  credential_hint?: string;
  status: "active" | "archived";
  created_by_id?: string;
  created_at: string;
  updated_at: string;
  version: number;
}

export interface IssuedAgent extends Agent {
  /** With which the server's requests to a new agent of the runner http are signed; shown only now. */
  signing_secret?: string;
}

/** What is left out stays as it is; `runner` and `retry` are replaced as a whole. */
export interface UpdateAgent {
  name?: string | undefined;
  /** A label of your own. */
  type?: string | undefined;
  description?: string | undefined;
  runner?: Runner | undefined;
  /** A JSON Schema (2020-12) that inputs must fit; null is none. */
  inputSchema?: object | boolean | null | undefined;
  /** How long one attempt may take, up to 86400; 300 unless given. */
  timeoutSeconds?: number | undefined;
  retry?: Retry | undefined;
  /** How many runs at one time, up to 100000; 0 is no bound. */
  maxConcurrency?: number | undefined;
}

export interface CreateAgent extends UpdateAgent {
  name: string;
}

export interface AgentFilter extends Paging {
  /** A part of the name, in any case. */
  name?: string | undefined;
}

export interface ExecuteAgent {
  /** An object, unless the agent's schema says otherwise. */
  input?: unknown;
  /** Wait for the result, at most 60 s. */
  sync?: boolean | undefined;
  sessionId?: string | undefined;
  userId?: string | undefined;
  metadata?: Record<string, string> | undefined;
}

export type ExecutionStatus = "pending" | "running" | "completed" | "failed" | "cancelled";

export interface Execution {
  id: string;
  /** The same as `id`. */
  execution_id: string;
  agent_id: string;
  trigger_id?: string;
  workspace_id: string;
  user_id?: string;
  session_id?: string;
  status: ExecutionStatus;
  /** Lists leave out one of more than 64 KiB. */
  input?: unknown;
  /** Lists leave out one of more than 64 KiB. */
  output?: unknown;
  /** Why it failed. */
  error?: string;
  /** Such as `timeout`, `agent_failed`, `worker_lost`. */
  error_code?: string;
  metadata?: Record<string, string>;
  token_usage?: TokenUsage;
  duration_ms?: number;
  /** The execution that this one repeats. */
  retry_of?: string;
  created_at: string;
  started_at?: string;
  completed_at?: string;
  next_attempt_at?: string;
  /** The number of the last attempt that was started. */
  attempt: number;
  version: number;
  /** Of the event that created it. */
  position: number;
}

/** What a model counted for the attempt that succeeded. */
export interface TokenUsage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

export interface ExecutionWithAttempts extends Execution {
  attempts?: Attempt[];
}

export interface Attempt {
  attempt: number;
  status: ExecutionStatus;
  worker?: string;
  started_at?: string;
  ended_at?: string;
  error?: string;
  error_code?: string;
  /** When the next attempt is made. */
  retry_at?: string;
}

export interface ExecutionFilter extends Paging {
  agentId?: string | undefined;
  triggerId?: string | undefined;
  sessionId?: string | undefined;
  status?: ExecutionStatus | undefined;
  since?: Moment | undefined;
  until?: Moment | undefined;
}

/** An output, or an error. */
export interface Report {
  output?: unknown;
  error?: { code?: string; message?: string } | undefined;
}

export interface HooktrailEvent {
  /** In the whole log, from 1. */
  position: number;
  id: string;
  /** Whose event it is: `<kind>-<id>`. */
  stream: string;
  /** Of the stream. */
  version: number;
  /** Such as `trigger.invoked`, `execution.completed`. */
  type: string;
  schema_version: number;
  time: string;
  workspace_id: string;
  /** `api_key:<id>`, `trigger:<id>`, `worker:<id>` or `system`. */
  actor: string;
  request_id?: string;
  traceparent?: string;
  causation_id?: string;
  correlation_id?: string;
  /** What happened, by type. It never holds a token, a secret or a payload. */
  data: Record<string, unknown>;
}

export interface TriggerEventFilter extends Paging {
  /** Such as `trigger.invoked`. */
  type?: string | undefined;
  /** Such as `api_key:<id>`. */
  actor?: string | undefined;
  since?: Moment | undefined;
  until?: Moment | undefined;
  /** A position: only those behind it, in the order of the log; 0 for all. */
  after?: number | undefined;
}

export interface EventFilter extends TriggerEventFilter {
  /** `<kind>-<id>`, such as `trigger-<id>`. */
  stream?: string | undefined;
}

export interface TailFilter extends Omit<EventFilter, keyof Paging | "after" | "until"> {
  /** The position of the last event that you have; 0 for all; what comes from now on unless given. */
  after?: number | undefined;
  /** Seconds between two looks for more where the log is not given as a stream, above 0 and up to 3600; 1 unless given. */
  interval?: number | undefined;
}

/** Calls of one minute that were refused alike. */
export interface Rejection {
  /** Absent without a known token, as `workspace_id` is. */
  trigger_id?: string;
  workspace_id?: string;
  /** The code that the calls were refused with, such as `invalid_signature`. */
  reason: string;
  /** What the last of them was told. */
  message: string;
  /** How the token that was presented begins, if it could be one. */
  token_prefix?: string;
  /** The address, for IPv6 its /64; absent for the calls of many clients. */
  client_ip?: string;
  count: number;
  first_at: string;
  last_at: string;
  /** The last call's. */
  request_id?: string;
}

export interface RejectionFilter extends Paging {
  triggerId?: string | undefined;
  /** A code, such as `invalid_signature`. */
  reason?: string | undefined;
  since?: Moment | undefined;
  until?: Moment | undefined;
}

export type Scope =
  | "webhook_triggers:read"
  | "webhook_triggers:write"
  | "agents:read"
  | "agents:write"
  | "agents:execute"
  | "executions:read"
  | "executions:write"
  | "events:read"
  | "admin";

export interface APIKey {
  id: string;
  workspace_id: string;
  name: string;
  /** The first characters of the key, to recognise it by. */
  prefix: string;
  scopes: Scope[];
  expires_at?: string;
  created_by_id?: string;
  created_at: string;
  /** Only in a view of the past. */
  revoked?: boolean;
}

/** A new key, which is shown only now. */
export interface IssuedAPIKey extends APIKey {
  key: string;
}

export interface CreateAPIKey {
  name: string;
  /** None that your own key lacks. */
  scopes: Scope[];
  expiresAt?: Moment | undefined;
}

/** A receiver of events. */
export interface Subscription {
  id: string;
  workspace_id: string;
  name: string;
  url: string;
  /** Absent for all. */
  types?: string[];
  /** Absent for all. */
  streams?: string[];
  trigger_id?: string;
  agent_id?: string;
  format: string;
  is_active: boolean;
  disabled_at?: string;
  /** `requested`, `gone`, `rejected` or `unreachable`. */
  disabled_code?: string;
  disabled_reason?: string;
  /** Up to it, all that fits has been delivered or skipped; not there in a view of the past. */
  position?: number;
  /** The event that holds back those behind it. */
  failing?: Delivery;
  last_success?: Delivery;
  created_by_id?: string;
  created_at: string;
  updated_at: string;
  /** Only in a view of the past. */
  deleted?: boolean;
  version: number;
}

/** A subscription with its secret, which is shown only now: deliveries are verified with it by Standard Webhooks. */
export interface IssuedSubscription extends Subscription {
  secret: string;
}

export interface RedeliveredSubscription extends Subscription {
  /** What came of the event that was sent again. */
  redelivery?: Delivery;
}

/** The delivery of one event. */
export interface Delivery {
  position: number;
  event_id: string;
  type: string;
  stream: string;
  /** `failed` is what came of one that was sent again by request. */
  status: "pending" | "failing" | "failed" | "delivered" | "skipped";
  /** How many failed. */
  attempts?: number;
  failing_since?: string;
  last_attempt_at?: string;
  next_attempt_at?: string;
  /** The receiver's last answer; absent when there was none. */
  response_status?: number;
  error?: string;
  /** By its answer the receiver will not take this event. */
  rejected?: boolean;
}

/** What is left out stays as it is; lists are replaced as a whole. */
export interface UpdateSubscription {
  name?: string | undefined;
  url?: string | undefined;
  /** Types of events, or beginnings of them and `*`; none means all. */
  types?: string[] | undefined;
  /** Streams, or beginnings of them and `*`; none means all. */
  streams?: string[] | undefined;
  /** Only events of this trigger and of the executions that it caused; empty for all. */
  triggerId?: string | undefined;
  /** Only events of this agent, of its executions and of the calls that began them; empty for all. */
  agentId?: string | undefined;
  isActive?: boolean | undefined;
}

export interface CreateSubscription extends UpdateSubscription {
  name: string;
  url: string;
  /** Where deliveries begin: `"now"` unless given, `"beginning"`, or the position of the first event to deliver. */
  from?: string | number | undefined;
}

export interface SubscriptionFilter extends Paging {
  isActive?: boolean | undefined;
}

/** Which part of a history. */
export interface HistoryRange {
  /** A position or a time, behind which it is told; from the beginning unless given. */
  from?: Moment | number | undefined;
  /** A position or a time, up to which it is told; to now unless given. */
  to?: Moment | number | undefined;
  /** How many events, 1 to 100; 100 unless given. */
  limit?: number | undefined;
}

/** What happened to something between two moments. */
export interface History {
  /** `<kind>-<id>`. */
  stream: string;
  from: number;
  to: number;
  /** The differences between the two, whatever was in between. */
  changes: Change[];
  /** In the order in which they happened. */
  events: HistoryEvent[];
  /** As `from` it gives the rest; absent when that is all. */
  next_from?: number;
}

export interface HistoryEvent {
  position: number;
  id: string;
  time: string;
  type: string;
  /** What was done, such as `switched off`. */
  summary: string;
  actor: Actor;
  request_id?: string;
  version: number;
  changes: Change[];
}

export interface Actor {
  /** `api_key:<id>`, `trigger:<id>`, `worker:<id>` or `system`. */
  id: string;
  kind: string;
  /** Of an API key or a trigger. */
  name?: string;
  /** The first characters of an API key. */
  prefix?: string;
}

/** A field that differs. */
export interface Change {
  /** With its parents: `options.rate_limit`. */
  field: string;
  /** Absent when the field was not there. */
  before?: unknown;
  /** Absent when the field is not there any more. */
  after?: unknown;
}

/** What a webhook call brought. */
export interface Received {
  event_id: string;
  type: string;
  media_type: string;
  sha256: string;
  size: number;
  /** As it was sent; null when it was erased. */
  body?: string | null;
  /** The sender's name for what happened. */
  event?: string;
  headers?: Record<string, string>;
  query?: Record<string, string>;
  /** The agent's input is what the trigger's mapping made of it. */
  mapped: boolean;
}

/** A signed statement of what the first events of the log are. */
export interface Checkpoint {
  origin: string;
  /** The position of the last event that it covers. */
  size: number;
  root: string;
  note: string;
  created_at: string;
  verifier_key: string;
}

/** The proof that an event is in the log. */
export interface Receipt {
  format: string;
  event_id: string;
  index: number;
  leaf: string;
  hashes: string[];
  checkpoint: string;
  verifier_key: string;
}

export interface Me {
  workspace_id: string;
  api_key: APIKey;
  /** What events that this key causes have as their actor. */
  actor: string;
}

/** A call that was accepted: an execution that is waiting to run. */
export interface Invocation {
  id: string;
  /** The same as `id`. */
  execution_id: string;
  trigger_id: string;
  agent_id: string;
  status: "pending";
  created_at: string;
}

/** A call that ran nothing, as the trigger is inactive and set to say so with 200. */
export interface Ignored {
  status: "ignored";
  reason: string;
  id?: undefined;
  execution_id?: undefined;
}

/** A call that is on record and ran nothing, as the trigger's filter is against it. */
export interface Filtered {
  status: "filtered";
  /** Of the event. */
  id: string;
  execution_id?: undefined;
  trigger_id: string;
  created_at: string;
}

/** What came of a webhook call. */
export interface Fired {
  /** The execution that has ended, where `wait` was given and long enough; else what was accepted. */
  data: Invocation | ExecutionWithAttempts | Filtered | Ignored;
  /** The call had been accepted before, under the same idempotency key; nothing ran now. */
  replayed: boolean;
}
