import { type API, allOf, paging } from "./api.js";
import { queryOf, segment, type Spelt } from "./fields.js";
import type { RequestOptions } from "./transport.js";
import type { APIKey, CreateAPIKey, Envelope, IssuedAPIKey, List, Paging } from "./types.js";

const path = "/api/v1/api-keys";

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

  /** Revokes a key, which ends at once. */
  async delete(id: string, options?: RequestOptions): Promise<void> {
    await this.#api.delete(`${path}/${segment("the API key's id", id)}`, options);
  }
}
