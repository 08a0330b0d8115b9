import { APIConnectionError, APIError, APITimeoutError, HooktrailError, errorFor, type Refusal } from "./errors.js";
import type { Bytes } from "./signature.js";

/** What any call may be given beside its fields. */
export interface RequestOptions {
  /** Ends the call; it fails with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Seconds that one attempt may take (above 0, at most 600), in place of the client's. */
  timeout?: number | undefined;
  /** How often a failed call is repeated where that is safe, in place of the client's. */
  maxRetries?: number | undefined;
}

/** For changes of triggers and agents. */
export interface ChangeOptions extends RequestOptions {
  /** Change only this `version` of the resource; if it is another one by now, a ConflictError. */
  ifMatch?: number | undefined;
}

export interface Request {
  method: "GET" | "POST" | "PATCH" | "DELETE";
  path: string;
  query?: URLSearchParams;
  headers?: Record<string, string>;
  body?: Bytes | string;
  /** That the same request twice does no more than once. */
  repeatable: boolean;
  /** Seconds that the server was asked to take before it answers. */
  patience?: number;
}

export interface Answer {
  /** The JSON of the body; undefined if there is none. */
  body: unknown;
  headers: Headers;
}

/** An answer that goes on. */
export interface Stream {
  /** Gives what comes next; undefined is the end. */
  read(): Promise<Uint8Array | undefined>;
  close(): void;
}

const longestTimeout = 600;
const longestBackoff = 8;
/** Whoever is told to come back later than this, in seconds, is better off with the error. */
const longestRetryAfter = 120;
const repeatedStatuses: readonly number[] = [429, 502, 503, 504];

/** Sends requests, and repeats those that failed and may be repeated. */
export class Transport {
  readonly #base: string;
  readonly #timeout: number;
  readonly #maxRetries: number;
  readonly #fetch: typeof fetch;

  constructor(baseUrl: string, timeout: number, maxRetries: number, fetcher: typeof fetch | undefined) {
    this.#base = checkedBase(baseUrl);
    this.#timeout = checkedTimeout(timeout);
    this.#maxRetries = checkedRetries(maxRetries);
    // Browsers want fetch called on the window.
    this.#fetch = fetcher ?? ((input, init) => globalThis.fetch(input, init));
  }

  async send(request: Request, options: RequestOptions = {}): Promise<Answer> {
    const timeout = checkedTimeout(options.timeout ?? this.#timeout) + (request.patience ?? 0);
    const maxRetries = request.repeatable ? this.retriesOf(options) : 0;
    for (let repeats = 0; ; repeats++) {
      try {
        return await this.#attempt(request, timeout, options.signal);
      } catch (error) {
        if (repeats >= maxRetries || !isTransient(error)) {
          throw error;
        }
        const asked = retryAfterOf(error);
        if (asked > longestRetryAfter) {
          throw error;
        }
        await sleep(Math.max(asked, backoff(repeats)), options.signal);
      }
    }
  }

  retriesOf(options: RequestOptions): number {
    return checkedRetries(options.maxRetries ?? this.#maxRetries);
  }

  async #attempt(request: Request, timeout: number, signal: AbortSignal | undefined): Promise<Answer> {
    signal?.throwIfAborted();
    // AbortSignal.any would do this, but Node.js 18 lacks it.
    const ended = new AbortController();
    const abort = () => ended.abort();
    signal?.addEventListener("abort", abort);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      ended.abort();
    }, timeout * 1000);
    let response: Response;
    let text: string;
    try {
      response = await this.#fetch(this.#base + request.path + queryText(request.query), {
        method: request.method,
        headers: { Accept: "application/json", ...request.headers },
        body: request.body ?? null,
        // The server redirects nobody, and the headers hold credentials that are for it alone.
        redirect: "manual",
        signal: ended.signal,
      });
      text = await response.text();
    } catch (error) {
      signal?.throwIfAborted();
      const what = `${request.method} ${request.path}`;
      if (late) {
        throw new APITimeoutError(`${what}: no answer from ${this.#base} in ${timeout} s`, { cause: error });
      }
      throw new APIConnectionError(`${what}: no answer from ${this.#base}: ${reasonOf(error)}`, { cause: error });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
    return this.#read(request, response, text);
  }

  /**
   * Opens a stream of Server-Sent Events; undefined says that the server, or a proxy before it, does not
   * offer it. Nothing may come for `silence` seconds at most: if that is so from the begin, something on the
   * way holds back what is to be seen at once, and it is not offered either.
   */
  async open(request: Request, silence: number, signal: AbortSignal | undefined): Promise<Stream | undefined> {
    signal?.throwIfAborted();
    const ended = new AbortController();
    const abort = () => ended.abort();
    signal?.addEventListener("abort", abort);
    const close = () => {
      signal?.removeEventListener("abort", abort);
      ended.abort();
    };
    const broken = (error: unknown): APIConnectionError => {
      signal?.throwIfAborted();
      return new APIConnectionError(`GET ${request.path}: the stream from ${this.#base} broke: ${reasonOf(error)}`, { cause: error });
    };
    let silent = false;
    /** Waits for something that has to come within the silence. */
    const heard = async <T>(coming: () => Promise<T>): Promise<T> => {
      const timer = setTimeout(() => {
        silent = true;
        ended.abort();
      }, silence * 1000);
      try {
        return await coming();
      } finally {
        clearTimeout(timer);
      }
    };
    let stream: ReadableStreamDefaultReader<Uint8Array> | undefined;
    try {
      const response = await heard(() =>
        this.#fetch(this.#base + request.path + queryText(request.query), {
          headers: { ...request.headers, Accept: "text/event-stream, application/json" },
          redirect: "manual",
          cache: "no-store",
          signal: ended.signal,
        }),
      );
      if (response.status === 404 || response.status === 405) {
        return undefined;
      }
      if (!response.ok) {
        this.#read(request, response, await heard(() => response.text()));
      }
      const kind = response.headers.get("Content-Type")?.split(";")[0]?.trim().toLowerCase();
      if (response.status !== 200 || kind !== "text/event-stream" || !response.body) {
        return undefined;
      }
      stream = response.body.getReader();
    } catch (error) {
      if (error instanceof HooktrailError) {
        throw error;
      }
      const failed = broken(error);
      if (silent) {
        return undefined;
      }
      throw failed;
    } finally {
      if (!stream) {
        close();
      }
    }
    const reader = stream;
    return {
      close,
      read: async () => {
        try {
          return (await heard(() => reader.read())).value;
        } catch (error) {
          throw silent ? new APITimeoutError(`GET ${request.path}: nothing has come from ${this.#base} in ${silence} s`, { cause: error }) : broken(error);
        }
      },
    };
  }

  #read(request: Request, response: Response, text: string): Answer {
    let body: unknown;
    if (text !== "") {
      try {
        body = JSON.parse(text);
      } catch {
        body = null; // which no answer of Hooktrail is
      }
    }
    if (response.ok && body !== null) {
      return { body, headers: response.headers };
    }
    throw errorFor(refusalOf(body, response) ?? this.#foreign(request, response));
  }

  /** An answer that is not one of Hooktrail: of a proxy before it, or of another server. */
  #foreign(request: Request, response: Response): Refusal {
    const redirected = response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400);
    const what = redirected ? "a redirect" : `status ${response.status} and no JSON that Hooktrail sends`;
    return {
      status: response.status,
      code: "invalid_response",
      message: `${request.method} ${request.path} was answered with ${what}: check that baseUrl, ${this.#base}, is a Hooktrail server's, and any proxy before it`,
      requestId: response.headers.get("X-Request-Id") ?? undefined,
      retryAfter: retryAfterIn(response.headers),
    };
  }
}

/** Reads both forms that errors have: an object below 500, plain text beside the code from there on. */
function refusalOf(body: unknown, response: Response): Refusal | undefined {
  if (typeof body !== "object" || body === null || response.ok) {
    return undefined;
  }
  const { error, code, request_id: inBody } = body as Record<string, unknown>;
  const told = typeof error === "string" ? { message: error, code } : error;
  if (typeof told !== "object" || told === null) {
    return undefined;
  }
  const { message, code: reason, details } = told as Record<string, unknown>;
  return {
    status: response.status,
    code: typeof reason === "string" ? reason : "invalid_response",
    message: typeof message === "string" ? message : "the server gave no reason",
    details: typeof details === "object" && details !== null ? (details as Record<string, string>) : {},
    requestId: typeof inBody === "string" ? inBody : (response.headers.get("X-Request-Id") ?? undefined),
    retryAfter: retryAfterIn(response.headers),
  };
}

/** Tells whether the same request may do better later. */
export function isTransient(error: unknown): boolean {
  return error instanceof APIConnectionError || (error instanceof APIError && repeatedStatuses.includes(error.status));
}

/** Gives the seconds that the server asked to wait, 0 if it did not. */
export function retryAfterOf(error: unknown): number {
  const { retryAfter } = error as { retryAfter?: number };
  return retryAfter ?? 0;
}

function retryAfterIn(headers: Headers): number | undefined {
  const text = headers.get("Retry-After")?.trim();
  if (!text) {
    return undefined;
  }
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds);
}

/** Gives how many seconds to wait before a repeat: half to all of a time that doubles. */
export function backoff(repeats: number): number {
  return Math.min(longestBackoff, 0.5 * 2 ** repeats) * (0.5 + Math.random() / 2);
}

/** Waits; when the signal comes first, fails with its reason. */
export async function sleep(seconds: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

function queryText(query: URLSearchParams | undefined): string {
  const text = query?.toString();
  return text ? `?${text}` : "";
}

/** fetch says only that it failed; the cause says why. */
function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: { message?: string; code?: string } };
  return cause?.message || cause?.code || (error instanceof Error ? error.message : String(error));
}

function checkedBase(text: string): string {
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    // Below; the reason that URL gives adds nothing.
  }
  if (url?.protocol !== "http:" && url?.protocol !== "https:") {
    throw new HooktrailError("baseUrl must be the server's http or https URL, such as https://hooktrail.example.com");
  }
  if (url.username || url.password || url.search || url.hash) {
    throw new HooktrailError("baseUrl must not hold a user, a password, a query or a fragment; the key goes into apiKey");
  }
  return url.href.replace(/\/+$/, "");
}

function checkedTimeout(seconds: number): number {
  if (!(seconds > 0 && seconds <= longestTimeout)) {
    throw new HooktrailError(`timeout is in seconds, above 0 and at most ${longestTimeout}, not ${seconds}`);
  }
  return seconds;
}

function checkedRetries(count: number): number {
  if (!Number.isInteger(count) || count < 0) {
    throw new HooktrailError(`maxRetries must be a whole number, 0 or more, not ${count}`);
  }
  return count;
}
