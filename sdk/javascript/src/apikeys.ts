import { type API, allOf, paging } from "./api.js";
import { queryOf, segment, type Spelt } from "./fields.js";
import { historyOf } from "./history.js";
import type { RequestOptions } from "./transport.js";
import type { APIKey, CreateAPIKey, Envelope, History, HistoryRange, IssuedAPIKey, List, Moment, Paging } from "./types.js";

const path = "/api/v1/api-keys";

function pathOf(id: string): string {
  return `${path}/${segment("the API key's id", id)}`;
}

/** Keys to the management API. */
export class APIKeys {
  readonly #api: API;

  constructor(api: API) {
    this.#api = api;
  }

  /** Creates a key. The answer holds it: the only time that it is shown. */
  async create(key: Spelt<CreateAPIKey>, options?: RequestOptions): Promise<Envelope<IssuedAPIKey>> {
    return this.#api.post(path, key, options);
  }

  /** Gives a page of the keys that are not revoked, newest first. */
  async list(part?: Paging, options?: RequestOptions): Promise<List<APIKey>> {
    return this.#api.get(path, queryOf("apiKeys.list", paging, part), options);
  }

  /** Iterates over all keys that are not revoked, newest first. */
  listAll(part?: Omit<Paging, "page">, options?: RequestOptions): AsyncGenerator<APIKey, void, undefined> {
    return allOf(this.#api, path, "apiKeys.listAll", [], part, options);
  }

  /** Gives a key without its text, as it is or as it was at a time or just behind a position in the log. */
  async get(id: string, view?: Spelt<{ asOf?: Moment | number | undefined }>, options?: RequestOptions): Promise<Envelope<APIKey>> {
    return this.#api.get(pathOf(id), queryOf("apiKeys.get", ["as_of"], view), options);
  }

  /** Tells who did what to a key, and what that changed, also to one that was revoked. */
  async history(id: string, range?: HistoryRange, options?: RequestOptions): Promise<Envelope<History>> {
    return historyOf(this.#api, pathOf(id), "apiKeys.history", range, options);
  }

  /** Revokes a key, which ends at once. */
  async delete(id: string, options?: RequestOptions): Promise<void> {
    await this.#api.delete(pathOf(id), options);
  }
}
