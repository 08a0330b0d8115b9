import { type API, allOf, paging } from "./api.js";
import { queryOf, segment, type Spelt } from "./fields.js";
import { historyOf } from "./history.js";
import type { ChangeOptions, RequestOptions } from "./transport.js";
import type {
  CreateSubscription,
  Delivery,
  Envelope,
  History,
  HistoryRange,
  IssuedSubscription,
  List,
  Moment,
  RedeliveredSubscription,
  RotateToken,
  Subscription,
  SubscriptionFilter,
  UpdateSubscription,
} from "./types.js";

const path = "/api/v1/subscriptions";
const filters = ["is_active"];

function pathOf(id: string): string {
  return `${path}/${segment("the subscription's id", id)}`;
}

/** Receivers that events are posted to. */
export class Subscriptions {
  readonly #api: API;

  constructor(api: API) {
    this.#api = api;
  }

  /** Creates a subscription. The answer holds its secret: the only time that it is shown. */
  async create(subscription: Spelt<CreateSubscription>, options?: RequestOptions): Promise<Envelope<IssuedSubscription>> {
    return this.#api.post(path, subscription, options);
  }

  /** Gives a page of the subscriptions, newest first. */
  async list(filter?: Spelt<SubscriptionFilter>, options?: RequestOptions): Promise<List<Subscription>> {
    return this.#api.get(path, queryOf("subscriptions.list", [...filters, ...paging], filter), options);
  }

  /** Iterates over all subscriptions, newest first. */
  listAll(filter?: Spelt<Omit<SubscriptionFilter, "page">>, options?: RequestOptions): AsyncGenerator<Subscription, void, undefined> {
    return allOf(this.#api, path, "subscriptions.listAll", filters, filter, options);
  }

  /** Gives a subscription and how its deliveries go, or as it was at a time or just behind a position in the log. */
  async get(id: string, view?: Spelt<{ asOf?: Moment | number | undefined }>, options?: RequestOptions): Promise<Envelope<Subscription>> {
    return this.#api.get(pathOf(id), queryOf("subscriptions.get", ["as_of"], view), options);
  }

  /** Changes a subscription; lists are replaced as a whole. An event that fails is tried again at once. */
  async update(id: string, changes: Spelt<UpdateSubscription>, options?: ChangeOptions): Promise<Envelope<Subscription>> {
    return this.#api.patch(pathOf(id), changes, options);
  }

  /** Ends deliveries until they are resumed. */
  async pause(id: string, options?: ChangeOptions): Promise<Envelope<Subscription>> {
    return this.update(id, { isActive: false }, options);
  }

  /** Lets deliveries go on where they ended. */
  async resume(id: string, options?: ChangeOptions): Promise<Envelope<Subscription>> {
    return this.update(id, { isActive: true }, options);
  }

  /** Deletes a subscription; its past stays readable. */
  async delete(id: string, options?: ChangeOptions): Promise<void> {
    await this.#api.delete(pathOf(id), options);
  }

  /** Puts a new secret in place and shows it, this once. For the grace period deliveries are signed with both. */
  async rotateSecret(id: string, how?: Spelt<RotateToken>, options?: RequestOptions): Promise<Envelope<IssuedSubscription>> {
    return this.#api.post(`${pathOf(id)}/rotate-secret`, how, options);
  }

  /** Gives what waits, what failed of late and what was taken last, the latest first. */
  async deliveries(id: string, options?: RequestOptions): Promise<List<Delivery>> {
    return this.#api.get(`${pathOf(id)}/deliveries`, undefined, options);
  }

  /** Sends one event once more, now, and tells what came of it. */
  async redeliver(id: string, event: Spelt<{ eventId: string }>, options?: RequestOptions): Promise<Envelope<RedeliveredSubscription>> {
    return this.#api.post(`${pathOf(id)}/redeliver`, event, options);
  }

  /** Goes on with deliveries from a position, `"beginning"` or `"now"`. */
  async rewind(id: string, place: { from: string | number }, options?: RequestOptions): Promise<Envelope<Subscription>> {
    return this.#api.post(`${pathOf(id)}/redeliver`, place, options);
  }

  /** Gives up the event that is failing. One that is named must be the failing one: else it is a ConflictError. */
  async skip(id: string, event?: Spelt<{ eventId?: string | undefined }>, options?: RequestOptions): Promise<Envelope<Subscription>> {
    return this.#api.post(`${pathOf(id)}/skip`, event, options);
  }

  /** Tells who did what to a subscription, and what that changed, also to one that was deleted. */
  async history(id: string, range?: HistoryRange, options?: RequestOptions): Promise<Envelope<History>> {
    return historyOf(this.#api, pathOf(id), "subscriptions.history", range, options);
  }
}
