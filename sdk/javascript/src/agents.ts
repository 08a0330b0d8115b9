import { type API, allOf, paging } from "./api.js";
import { queryOf, segment, type Spelt } from "./fields.js";
import { historyOf } from "./history.js";
import type { ChangeOptions, RequestOptions } from "./transport.js";
import type { Agent, AgentFilter, CreateAgent, Envelope, ExecuteAgent, ExecutionWithAttempts, History, HistoryRange, IssuedAgent, List, Moment, UpdateAgent } from "./types.js";

const path = "/api/v1/agents";
const filters = ["name"];
/** Seconds that the server waits for a result at most. */
const longestSync = 60;

function pathOf(id: string): string {
  return `${path}/${segment("the agent's id", id)}`;
}

/** Agents: what triggers run. */
export class Agents {
  readonly #api: API;

  constructor(api: API) {
    this.#api = api;
  }

  /** Creates an agent. For the runner http the answer holds `signing_secret`: the only time that it is shown. */
  async create(agent: Spelt<CreateAgent>, options?: RequestOptions): Promise<Envelope<IssuedAgent>> {
    return this.#api.post(path, agent, options);
  }

  /** Gives a page of the agents that are not archived, newest first. */
  async list(filter?: Spelt<AgentFilter>, options?: RequestOptions): Promise<List<Agent>> {
    return this.#api.get(path, queryOf("agents.list", [...filters, ...paging], filter), options);
  }

  /** Iterates over all agents that are not archived, newest first. */
  listAll(filter?: Spelt<Omit<AgentFilter, "page">>, options?: RequestOptions): AsyncGenerator<Agent, void, undefined> {
    return allOf(this.#api, path, "agents.listAll", filters, filter, options);
  }

  async get(id: string, options?: RequestOptions): Promise<Envelope<Agent>> {
    return this.#api.get(pathOf(id), undefined, options);
  }

  /** Changes an agent. One that comes to be of the runner http gets its `signing_secret` in this answer. */
  async update(id: string, changes: Spelt<UpdateAgent>, options?: ChangeOptions): Promise<Envelope<IssuedAgent>> {
    return this.#api.patch(pathOf(id), changes, options);
  }

  /** Archives an agent, which is a ConflictError while triggers run it. */
  async delete(id: string, options?: ChangeOptions): Promise<void> {
    await this.#api.delete(pathOf(id), options);
  }

  /** Runs an agent without a trigger. With `sync` the answer comes when it has ended, or after 60 s. */
  async execute(id: string, run?: Spelt<ExecuteAgent>, options?: RequestOptions): Promise<Envelope<ExecutionWithAttempts>> {
    return this.#api.post(`${pathOf(id)}/execute`, run, options, run?.sync ? longestSync : 0);
  }

  /** Gives an agent as it was at a time or just behind a position in the log. */
  async getAsOf(id: string, moment: Moment | number, options?: RequestOptions): Promise<Envelope<Agent>> {
    return this.#api.get(pathOf(id), queryOf("agents.getAsOf", ["as_of"], { asOf: moment }), options);
  }

  /** Tells who did what to an agent, and what that changed, also to one that was archived. */
  async history(id: string, range?: HistoryRange, options?: RequestOptions): Promise<Envelope<History>> {
    return historyOf(this.#api, pathOf(id), "agents.history", range, options);
  }
}
