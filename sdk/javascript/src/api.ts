import { HooktrailError } from "./errors.js";
import { queryOf, spelt } from "./fields.js";
import type { ChangeOptions, Request, RequestOptions, Stream, Transport } from "./transport.js";
import type { List } from "./types.js";

/** The management API, which needs a key. */
export class API {
  readonly #transport: Transport;
  readonly #key: string | undefined;

  constructor(transport: Transport, key: string | undefined) {
    this.#transport = transport;
    this.#key = key;
  }

  async get<T>(path: string, query?: URLSearchParams, options?: RequestOptions): Promise<T> {
    return (await this.#send({ method: "GET", path, ...(query && { query }), repeatable: true }, options)) as T;
  }

  async post<T>(path: string, fields?: object, options?: RequestOptions, patience = 0): Promise<T> {
    const body = JSON.stringify(spelt(fields));
    return (await this.#send({ method: "POST", path, body, repeatable: false, patience }, options)) as T;
  }

  async patch<T>(path: string, fields: object, options?: ChangeOptions): Promise<T> {
    const body = JSON.stringify(spelt(fields));
    return (await this.#send({ method: "PATCH", path, body, repeatable: false, headers: ifMatch(options) }, options)) as T;
  }

  async delete(path: string, options?: ChangeOptions): Promise<void> {
    await this.#send({ method: "DELETE", path, repeatable: true, headers: ifMatch(options) }, options);
  }

  /** Opens a stream of Server-Sent Events; undefined if there is none to be had. */
  async open(path: string, query: URLSearchParams, more: Record<string, string>, silence: number, signal: AbortSignal | undefined): Promise<Stream | undefined> {
    const headers = { ...more, "X-API-Key": this.#required() };
    return this.#transport.open({ method: "GET", path, query, headers, repeatable: true }, silence, signal);
  }

  /** How often a failed call may be repeated. */
  retriesOf(options: RequestOptions): number {
    return this.#transport.retriesOf(options);
  }

  #required(): string {
    if (this.#key === undefined) {
      throw new HooktrailError("there is no API key: give apiKey, or set HOOKTRAIL_API_KEY; only fire works without");
    }
    return this.#key;
  }

  async #send(request: Request, options: RequestOptions | undefined): Promise<unknown> {
    const headers: Record<string, string> = { ...request.headers, "X-API-Key": this.#required() };
    if (request.body !== undefined) {
      headers["Content-Type"] = "application/json";
    }
    return (await this.#transport.send({ ...request, headers }, options)).body;
  }
}

function ifMatch(options: ChangeOptions | undefined): Record<string, string> {
  return options?.ifMatch === undefined ? {} : { "If-Match": `"${options.ifMatch}"` };
}

/** What lists take beside their filters. */
export const paging = ["page", "limit", "cursor"];

/** Iterates over all pages of a list, which it fetches as they are needed. */
export async function* allOf<T>(
  api: API,
  path: string,
  method: string,
  filters: readonly string[],
  params: object | undefined,
  options: RequestOptions | undefined,
): AsyncGenerator<T, void, undefined> {
  const query = queryOf(method, [...filters, "limit", "cursor"], params);
  if (!query.has("limit")) {
    query.set("limit", "100");
  }
  for (;;) {
    const part = await api.get<List<T>>(path, query, options);
    yield* part.data;
    if (!part.meta.next_cursor) {
      return;
    }
    query.set("cursor", part.meta.next_cursor);
  }
}
