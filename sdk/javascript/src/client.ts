import { Agents } from "./agents.js";
import { API } from "./api.js";
import { APIKeys } from "./apikeys.js";
import { Audit } from "./audit.js";
import { HooktrailError } from "./errors.js";
import { Events } from "./events.js";
import { Executions } from "./executions.js";
import { spelt, type Spelt } from "./fields.js";
import { Rejections } from "./rejections.js";
import { bytesOf, sign, type Body } from "./signature.js";
import { Subscriptions } from "./subscriptions.js";
import { Transport, type RequestOptions } from "./transport.js";
import { WebhookTriggers } from "./triggers.js";
import type { Envelope, Fired, Me } from "./types.js";

export interface ClientOptions {
  /** An API key, `htk_…`; HOOKTRAIL_API_KEY of the environment unless given. Only `fire` works without. */
  apiKey?: string | undefined;
  /** The server's URL; HOOKTRAIL_URL of the environment unless given, or else http://localhost:8080. */
  baseUrl?: string | undefined;
  /** Seconds that one attempt may take, above 0 and at most 600; 30 unless given. */
  timeout?: number | undefined;
  /** How often a failed call is repeated where that is safe; 2 unless given, 0 for never. */
  maxRetries?: number | undefined;
  /** Takes the place of the global fetch. */
  fetch?: typeof fetch | undefined;
}

/** A webhook call. */
export interface Fire {
  /** The trigger's token, `wht_…`. */
  token: string;
  /** The agent's input: any value, which is sent as JSON; `{}` unless given. */
  payload?: unknown;
  /** The input as the exact JSON to send, in place of `payload`. */
  body?: Body | undefined;
  /** The trigger's secret, if it has one; the call is signed with it. */
  secret?: string | undefined;
  /**
   * Calls of a trigger with the same key count once in 24 hours, so that a call with a key is repeated
   * when it fails. Up to 255 bytes of printable text.
   */
  idempotencyKey?: string | undefined;
  /** Seconds to wait for the result, 0 to 60; not at all unless given. */
  wait?: number | undefined;
}

const longestWait = 60;
const longestIdempotencyKey = 255;

/** A client of one Hooktrail server. */
export class Hooktrail {
  readonly webhookTriggers: WebhookTriggers;
  readonly agents: Agents;
  readonly executions: Executions;
  readonly events: Events;
  readonly rejections: Rejections;
  readonly apiKeys: APIKeys;
  readonly subscriptions: Subscriptions;
  readonly audit: Audit;
  // Private to the engine, so that nothing that prints or serialises a client shows its key.
  readonly #transport: Transport;
  readonly #api: API;

  /** @throws HooktrailError if an option is not valid. No request is made. */
  constructor(options: ClientOptions = {}) {
    const baseUrl = options.baseUrl ?? fromEnvironment("HOOKTRAIL_URL") ?? "http://localhost:8080";
    const apiKey = options.apiKey ?? fromEnvironment("HOOKTRAIL_API_KEY");
    if (apiKey !== undefined) {
      checkCredential("apiKey", apiKey);
    }
    this.#transport = new Transport(baseUrl, options.timeout ?? 30, options.maxRetries ?? 2, options.fetch);
    this.#api = new API(this.#transport, apiKey);
    this.webhookTriggers = new WebhookTriggers(this.#api);
    this.agents = new Agents(this.#api);
    this.executions = new Executions(this.#api);
    this.events = new Events(this.#api);
    this.rejections = new Rejections(this.#api);
    this.apiKeys = new APIKeys(this.#api);
    this.subscriptions = new Subscriptions(this.#api);
    this.audit = new Audit(this.#api);
  }

  /** Gives the key that is calling, and its workspace. */
  async me(options?: RequestOptions): Promise<Envelope<Me>> {
    return this.#api.get("/api/v1/me", undefined, options);
  }

  /** Makes a webhook call as a sender does; it needs no API key. */
  async fire(call: Spelt<Fire>, options?: RequestOptions): Promise<Fired> {
    const { token, payload, body: exact, secret, idempotency_key: key, wait = 0 } = spelt(call) as FireFields;
    checkCredential("token", token);
    if (payload !== undefined && exact !== undefined) {
      throw new HooktrailError("payload and body are both given: leave one out");
    }
    if (!(Number.isInteger(wait) && wait >= 0 && wait <= longestWait)) {
      throw new HooktrailError(`wait is a whole number of seconds, 0 to ${longestWait}, not ${wait}`);
    }
    const body = bytesOf(exact ?? written(payload === undefined ? {} : payload));
    const headers: Record<string, string> = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    if (secret !== undefined) {
      headers["X-Webhook-Signature"] = await sign(body, secret);
    }
    if (key !== undefined) {
      headers["Idempotency-Key"] = headerOf(key);
    }
    if (wait > 0) {
      headers["Prefer"] = `wait=${wait}`;
    }
    const request = { method: "POST", path: "/api/v1/webhook/trigger", headers, body, repeatable: key !== undefined, patience: wait } as const;
    const answer = await this.#transport.send(request, options);
    return { ...(answer.body as Pick<Fired, "data">), replayed: answer.headers.get("Idempotent-Replayed") === "true" };
  }
}

interface FireFields {
  token?: string;
  payload?: unknown;
  body?: Body;
  secret?: string;
  idempotency_key?: string;
  wait?: number;
}

function written(payload: unknown): string {
  const text = JSON.stringify(payload) as string | undefined;
  if (text === undefined) {
    throw new HooktrailError("the payload is nothing that JSON can hold");
  }
  return text;
}

/** What fetch would say about a bad header shows the header, and so the credential. */
function checkCredential(name: string, value: unknown): void {
  if (typeof value !== "string" || !/^[\x21-\x7e]+$/.test(value)) {
    throw new HooktrailError(`${name} must be a string of visible ASCII characters, without spaces or line ends`);
  }
}

/** Gives text as fetch takes it in a header: a character for each byte of its UTF-8. */
function headerOf(key: unknown): string {
  const bytes = typeof key === "string" ? new TextEncoder().encode(key) : [];
  if (bytes.length === 0 || bytes.length > longestIdempotencyKey || /[\x00-\x1f\x7f]/.test(key as string)) {
    throw new HooktrailError(`idempotencyKey must be 1 to ${longestIdempotencyKey} bytes of printable text`);
  }
  return String.fromCharCode(...bytes);
}

/** Gives a variable of the environment, where there is one; an empty one is as good as none. */
function fromEnvironment(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.[name] || undefined;
}
