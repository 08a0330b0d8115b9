import { type API, allOf, paging } from "./api.js";
import { queryOf, type Spelt } from "./fields.js";
import type { RequestOptions } from "./transport.js";
import type { List, Rejection, RejectionFilter } from "./types.js";

const path = "/api/v1/rejections";
const filters = ["trigger_id", "reason", "since", "until"];

/** Webhook calls that were refused; alike ones of a minute are one entry with a count. */
export class Rejections {
  readonly #api: API;

  constructor(api: API) {
    this.#api = api;
  }

  /** Gives a page of the rejections, the latest first. */
  async list(filter?: Spelt<RejectionFilter>, options?: RequestOptions): Promise<List<Rejection>> {
    return this.#api.get(path, queryOf("rejections.list", [...filters, ...paging], filter), options);
  }

  /** Iterates over all rejections, the latest first. */
  listAll(filter?: Spelt<Omit<RejectionFilter, "page">>, options?: RequestOptions): AsyncGenerator<Rejection, void, undefined> {
    return allOf(this.#api, path, "rejections.listAll", filters, filter, options);
  }
}
