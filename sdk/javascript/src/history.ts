import type { API } from "./api.js";
import { queryOf } from "./fields.js";
import type { RequestOptions } from "./transport.js";
import type { Envelope, History, HistoryRange } from "./types.js";

/** Asks for the history of what is at a path. */
export async function historyOf(
  api: API,
  path: string,
  method: string,
  range: HistoryRange | undefined,
  options: RequestOptions | undefined,
): Promise<Envelope<History>> {
  return api.get(`${path}/history`, queryOf(method, ["from", "to", "limit"], range), options);
}
