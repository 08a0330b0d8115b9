import type { API } from "./api.js";
import { segment } from "./fields.js";
import type { RequestOptions } from "./transport.js";
import type { Checkpoint, Envelope, Receipt } from "./types.js";

/** The signed Merkle tree over the log. */
export class Audit {
  readonly #api: API;

  constructor(api: API) {
    this.#api = api;
  }

  /** Gives the latest signed checkpoint, which is a ConflictError when none was made yet. */
  async checkpoint(options?: RequestOptions): Promise<Envelope<Checkpoint>> {
    return this.#api.get("/api/v1/audit/checkpoint", undefined, options);
  }

  /**
   * Gives the proof that an event is in the log; `hooktrail audit verify-receipt` checks it. It is a
   * ConflictError while no checkpoint covers the event, which takes up to 10 s.
   */
  async receipt(eventId: string, options?: RequestOptions): Promise<Envelope<Receipt>> {
    return this.#api.get(`/api/v1/events/${segment("the event's id", eventId)}/proof`, undefined, options);
  }
}
