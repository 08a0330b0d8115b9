import { type API, allOf, paging } from "./api.js";
import { HooktrailError, WaitTimeoutError } from "./errors.js";
import { queryOf, segment, type Spelt } from "./fields.js";
import { historyOf } from "./history.js";
import { sleep, type RequestOptions } from "./transport.js";
import type { Envelope, Execution, ExecutionFilter, ExecutionWithAttempts, History, HistoryRange, List, Moment, Received, Report } from "./types.js";

const path = "/api/v1/executions";
const filters = ["agent_id", "trigger_id", "session_id", "status", "since", "until"];
const ends: readonly string[] = ["completed", "failed", "cancelled"];

function pathOf(id: string): string {
  return `${path}/${segment("the execution's id", id)}`;
}

/** Executions: runs of agents. */
export class Executions {
  readonly #api: API;

  constructor(api: API) {
    this.#api = api;
  }

  /** Gives a page of the executions, newest first. */
  async list(filter?: Spelt<ExecutionFilter>, options?: RequestOptions): Promise<List<Execution>> {
    return this.#api.get(path, queryOf("executions.list", [...filters, ...paging], filter), options);
  }

  /** Iterates over all executions, newest first. */
  listAll(filter?: Spelt<Omit<ExecutionFilter, "page">>, options?: RequestOptions): AsyncGenerator<Execution, void, undefined> {
    return allOf(this.#api, path, "executions.listAll", filters, filter, options);
  }

  /** Gives an execution with its attempts. */
  async get(id: string, options?: RequestOptions): Promise<Envelope<ExecutionWithAttempts>> {
    return this.#api.get(pathOf(id), undefined, options);
  }

  /** Gives an execution with its attempts as it was at a time or just behind a position in the log. */
  async getAsOf(id: string, moment: Moment | number, options?: RequestOptions): Promise<Envelope<ExecutionWithAttempts>> {
    return this.#api.get(pathOf(id), queryOf("executions.getAsOf", ["as_of"], { asOf: moment }), options);
  }

  /** Gives what a webhook call brought, by the id of its execution or, for a call that was filtered, of its event. */
  async received(id: string, options?: RequestOptions): Promise<Envelope<Received>> {
    return this.#api.get(`${pathOf(id)}/received`, undefined, options);
  }

  /** Tells what became of an execution. */
  async history(id: string, range?: HistoryRange, options?: RequestOptions): Promise<Envelope<History>> {
    return historyOf(this.#api, pathOf(id), "executions.history", range, options);
  }

  /** Cancels an execution, which is a ConflictError when it has ended. */
  async cancel(id: string, why?: { reason?: string | undefined }, options?: RequestOptions): Promise<Envelope<ExecutionWithAttempts>> {
    return this.#api.post(`${pathOf(id)}/cancel`, why, options);
  }

  /** Runs an execution that has ended once more, as a new one with `retry_of`. */
  async retry(id: string, options?: RequestOptions): Promise<Envelope<ExecutionWithAttempts>> {
    return this.#api.post(`${pathOf(id)}/retry`, undefined, options);
  }

  /** Reports the result of work that was done outside, for agents of the runner none. */
  async report(id: string, result: Report, options?: RequestOptions): Promise<Envelope<ExecutionWithAttempts>> {
    return this.#api.post(`${pathOf(id)}/report`, result, options);
  }

  /**
   * Waits until an execution has ended, well or not: `data.status` tells.
   *
   * @param limit.timeout seconds to wait, above 0; 300 unless given. Infinity waits for ever.
   * @throws WaitTimeoutError if it has not ended by then. The execution goes on.
   */
  async wait(id: string, limit: { timeout?: number | undefined } = {}, options?: RequestOptions): Promise<Envelope<ExecutionWithAttempts>> {
    const { timeout = 300 } = limit;
    if (!(timeout > 0)) {
      throw new HooktrailError(`the timeout of executions.wait is in seconds, above 0, not ${timeout}`);
    }
    const deadline = performance.now() + timeout * 1000;
    for (let pause = 0.1; ; pause = Math.min(2, pause * 1.5)) {
      const execution = await this.get(id, options);
      if (ends.includes(execution.data.status)) {
        return execution;
      }
      const left = (deadline - performance.now()) / 1000;
      if (left <= 0) {
        throw new WaitTimeoutError(id, execution.data.status, timeout);
      }
      await sleep(Math.min(pause, left), options?.signal);
    }
  }
}
