import { type API, allOf, paging } from "./api.js";
import { queryOf, segment, type Spelt } from "./fields.js";
import { historyOf } from "./history.js";
import type { ChangeOptions, RequestOptions } from "./transport.js";
import type {
  CreateTrigger,
  Envelope,
  ExecutionWithAttempts,
  History,
  HistoryRange,
  HooktrailEvent,
  IssuedTrigger,
  List,
  Moment,
  Paging,
  RotateSecret,
  RotateToken,
  RunTrigger,
  TestOutcome,
  TestSince,
  TestSummary,
  TestTrigger,
  Trigger,
  TriggerEventFilter,
  TriggerFilter,
  TriggerWithSecret,
  TriggerWithToken,
  UpdateTrigger,
} from "./types.js";

const path = "/api/v1/webhook-triggers";
const filters = ["agent_id", "is_active", "name"];
const eventFilters = ["type", "actor", "since", "until", "after"];

function pathOf(id: string): string {
  return `${path}/${segment("the trigger's id", id)}`;
}

/** Triggers: each gives a sender a token with which it runs an agent. */
export class WebhookTriggers {
  readonly #api: API;

  constructor(api: API) {
    this.#api = api;
  }

  /** Creates a trigger. The answer holds its token and its secret, if it has one: the only time that they are shown. */
  async create(trigger: Spelt<CreateTrigger>, options?: RequestOptions): Promise<Envelope<IssuedTrigger>> {
    return this.#api.post(path, trigger, options);
  }

  /** Gives a page of the triggers, newest first. */
  async list(filter?: Spelt<TriggerFilter>, options?: RequestOptions): Promise<List<Trigger>> {
    return this.#api.get(path, queryOf("webhookTriggers.list", [...filters, ...paging], filter), options);
  }

  /** Iterates over all triggers, newest first. */
  listAll(filter?: Spelt<Omit<TriggerFilter, "page">>, options?: RequestOptions): AsyncGenerator<Trigger, void, undefined> {
    return allOf(this.#api, path, "webhookTriggers.listAll", filters, filter, options);
  }

  /** Gives a trigger as it is, or as it was at a time or just behind a position in the log. */
  async get(id: string, view?: Spelt<{ asOf?: Moment | number | undefined }>, options?: RequestOptions): Promise<Envelope<Trigger>> {
    return this.#api.get(pathOf(id), queryOf("webhookTriggers.get", ["as_of"], view), options);
  }

  /** Changes a trigger. From the answer to `isActive: false` on, no call is accepted. */
  async update(id: string, changes: Spelt<UpdateTrigger>, options?: ChangeOptions): Promise<Envelope<Trigger>> {
    return this.#api.patch(pathOf(id), changes, options);
  }

  /** Deletes a trigger; its past stays readable. */
  async delete(id: string, options?: ChangeOptions): Promise<void> {
    await this.#api.delete(pathOf(id), options);
  }

  /** Puts a new token in place and shows it, this once. The old one works for the grace period. */
  async rotateToken(id: string, how?: Spelt<RotateToken>, options?: RequestOptions): Promise<Envelope<TriggerWithToken>> {
    return this.#api.post(`${pathOf(id)}/rotate-token`, how, options);
  }

  /** Puts a first or new secret in place and shows it, this once. Signatures by the old one pass for the grace period. */
  async rotateSecret(id: string, how?: Spelt<RotateSecret>, options?: RequestOptions): Promise<Envelope<TriggerWithSecret>> {
    return this.#api.post(`${pathOf(id)}/rotate-secret`, how, options);
  }

  /** Has calls taken unsigned from now on. */
  async removeSecret(id: string, options?: RequestOptions): Promise<void> {
    await this.#api.delete(`${pathOf(id)}/secret`, options);
  }

  /** Runs a trigger's agent now, as its schedule would, and also without one. */
  async run(id: string, run?: RunTrigger, options?: RequestOptions): Promise<Envelope<ExecutionWithAttempts>> {
    return this.#api.post(`${pathOf(id)}/run`, run, options);
  }

  /** Says what would become of a call. Nothing is run and nothing recorded. */
  async test(id: string, call: Spelt<TestTrigger>, options?: RequestOptions): Promise<Envelope<TestOutcome>> {
    return this.#api.post(`${pathOf(id)}/test`, call, options);
  }

  /** Says what would become of the calls on record, such as under other options. Nothing is run and nothing recorded. */
  async testSince(id: string, calls: TestSince, options?: RequestOptions): Promise<Envelope<TestSummary>> {
    return this.#api.post(`${pathOf(id)}/test`, calls, options);
  }

  /** Gives a page of a trigger's events, also of one that was deleted. */
  async events(id: string, filter?: Spelt<TriggerEventFilter & Paging>, options?: RequestOptions): Promise<List<HooktrailEvent>> {
    const query = queryOf("webhookTriggers.events", [...eventFilters, ...paging], filter);
    return this.#api.get(`${pathOf(id)}/events`, query, options);
  }

  /** Tells who did what to a trigger, and what that changed, also to one that was deleted. Calls are among its events. */
  async history(id: string, range?: HistoryRange, options?: RequestOptions): Promise<Envelope<History>> {
    return historyOf(this.#api, pathOf(id), "webhookTriggers.history", range, options);
  }
}
