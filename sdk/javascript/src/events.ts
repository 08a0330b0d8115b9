import { type API, allOf, paging } from "./api.js";
import { HooktrailError } from "./errors.js";
import { queryOf, spelt, type Spelt } from "./fields.js";
import { backoff, isTransient, retryAfterOf, sleep, type RequestOptions } from "./transport.js";
import type { EventFilter, HooktrailEvent, List, TailFilter } from "./types.js";

const path = "/api/v1/events";
const tailFilters = ["stream", "type", "actor", "since"];
const filters = [...tailFilters, "until", "after"];
/** The longest time between two looks for more, in seconds. */
const longestInterval = 3600;

/** Events: the log of all that happened. */
export class Events {
  readonly #api: API;

  constructor(api: API) {
    this.#api = api;
  }

  /** Gives a page of the events: the newest first; with `after`, onwards from there in the order of the log. */
  async list(filter?: Spelt<EventFilter>, options?: RequestOptions): Promise<List<HooktrailEvent>> {
    return this.#api.get(path, queryOf("events.list", [...filters, ...paging], filter), options);
  }

  /** Iterates over all events: the newest first; with `after`, onwards from there in the order of the log. */
  listAll(filter?: Spelt<Omit<EventFilter, "page">>, options?: RequestOptions): AsyncGenerator<HooktrailEvent, void, undefined> {
    return allOf(this.#api, path, "events.listAll", filters, filter, options);
  }

  /**
   * Follows the log for ever, in its order and without a gap: first what is behind `after`, then what
   * comes. To go on later, pass the `position` of the last event that you have dealt with.
   *
   * Leave the loop to stop, or abort the signal, which ends it without an error. Once the server has
   * answered, the iterator outlasts its absence: it tries again until it is there. What waiting does not
   * mend, such as a revoked key, is thrown.
   */
  tail(filter: Spelt<TailFilter> = {}, options: RequestOptions = {}): AsyncGenerator<HooktrailEvent, void, undefined> {
    const { after, interval = 1, ...rest } = spelt(filter) as { after?: number; interval?: number };
    if (!(interval > 0 && interval <= longestInterval)) {
      throw new HooktrailError(`the interval of events.tail is in seconds, above 0 and at most ${longestInterval}, not ${interval}`);
    }
    if (after !== undefined && !(Number.isSafeInteger(after) && after >= 0)) {
      throw new HooktrailError("after must be a position in the log, 0 or more");
    }
    return this.#follow(queryOf("events.tail", tailFilters, rest), after, interval, options);
  }

  async *#follow(query: URLSearchParams, after: number | undefined, interval: number, options: RequestOptions) {
    const { signal } = options;
    try {
      let position = after ?? (await this.list({ limit: 1 }, options)).data[0]?.position ?? 0;
      query.set("limit", "100");
      let reached = after === undefined;
      for (let failures = 0; ; ) {
        query.set("after", String(position));
        let part: List<HooktrailEvent>;
        try {
          part = await this.#api.get(path, query, options);
        } catch (error) {
          if (!reached || !isTransient(error)) {
            throw error;
          }
          await sleep(Math.max(retryAfterOf(error), backoff(failures++)), signal);
          continue;
        }
        reached = true;
        failures = 0;
        for (const event of part.data) {
          if (signal?.aborted) {
            return;
          }
          position = event.position;
          yield event;
        }
        if (!part.meta.next_cursor) {
          await sleep(interval, signal);
        }
      }
    } catch (error) {
      if (!signal?.aborted) {
        throw error;
      }
    }
  }
}
