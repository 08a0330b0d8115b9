import { type API, allOf, paging } from "./api.js";
import { APIConnectionError, APITimeoutError, HooktrailError } from "./errors.js";
import { queryOf, spelt, type Spelt } from "./fields.js";
import { Reader } from "./stream.js";
import { backoff, isTransient, retryAfterOf, sleep, type RequestOptions } from "./transport.js";
import type { EventFilter, HooktrailEvent, List, TailFilter } from "./types.js";

const path = "/api/v1/events";
const tailFilters = ["stream", "type", "actor", "since"];
const filters = [...tailFilters, "until", "after"];
/** The longest time between two looks for more, in seconds. */
const longestInterval = 3600;
/** How long a stream may give nothing, in seconds; the server shows every 15 that it is there. */
const silence = 30;

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
   * Events come as they are recorded, by a stream that is opened again where it breaks or gives nothing for
   * 30 s. Where a server or a proxy does not offer it, the log is looked at every `interval` seconds.
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
      const position = after ?? (await this.list({ limit: 1 }, options)).data[0]?.position ?? 0;
      const follower: Follower = { query, position, reached: after === undefined, failures: 0, options };
      for (let polls = false; ; ) {
        try {
          if (!polls) {
            polls = !(yield* this.#listen(follower));
          } else {
            yield* this.#poll(follower);
            await sleep(interval, signal);
          }
        } catch (error) {
          if (signal?.aborted || !isTransient(error) || !(follower.reached || this.#mayRepeat(polls, follower))) {
            throw error;
          }
          await sleep(Math.max(retryAfterOf(error), backoff(follower.failures++)), signal);
        }
      }
    } catch (error) {
      if (!signal?.aborted) {
        throw error;
      }
    }
  }

  /** The stream is not repeated by the transport, as polling is. */
  #mayRepeat(polls: boolean, { failures, options }: Follower): boolean {
    return !polls && failures < this.#api.retriesOf(options);
  }

  /** Gives what comes by a stream until it breaks, which is thrown; false says that there is none to be had. */
  async *#listen(follower: Follower): AsyncGenerator<HooktrailEvent, boolean, undefined> {
    const { signal } = follower.options;
    const query = new URLSearchParams(follower.query);
    query.set("after", String(follower.position));
    const resumed: Record<string, string> = follower.streamed ? { "Last-Event-ID": String(follower.position) } : {};
    const stream = await this.#api.open(`${path}/stream`, query, resumed, silence, signal);
    if (!stream) {
      return false;
    }
    follower.reached = follower.streamed = true;
    const reader = new Reader();
    let begun = false;
    try {
      for (;;) {
        const piece = await stream.read();
        if (!piece) {
          throw new APIConnectionError("the server has ended the stream of events");
        }
        begun = true;
        for (const { position, event } of reader.feed(piece)) {
          follower.failures = 0;
          if (position <= follower.position) {
            continue;
          }
          signal?.throwIfAborted();
          follower.position = position;
          if (event) {
            yield event;
          }
        }
      }
    } catch (error) {
      if (error instanceof APITimeoutError && !begun) {
        return false;
      }
      throw error;
    } finally {
      stream.close();
    }
  }

  /** Gives what there is, up to the end of the log. */
  async *#poll(follower: Follower): AsyncGenerator<HooktrailEvent, void, undefined> {
    const { options } = follower;
    const query = new URLSearchParams(follower.query);
    query.set("limit", "100");
    for (let more = true; more; ) {
      query.set("after", String(follower.position));
      const part = await this.#api.get<List<HooktrailEvent>>(path, query, options);
      follower.reached = true;
      follower.failures = 0;
      for (const event of part.data) {
        options.signal?.throwIfAborted();
        follower.position = event.position;
        yield event;
      }
      more = part.meta.next_cursor !== undefined && part.meta.next_cursor !== "";
    }
  }
}

/** One run of tail. */
interface Follower {
  query: URLSearchParams;
  options: RequestOptions;
  /** Up to which everything was given. */
  position: number;
  /** The server has answered. */
  reached: boolean;
  /** A stream was open. */
  streamed?: boolean;
  /** In a row. */
  failures: number;
}
