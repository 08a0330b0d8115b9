import { HooktrailError } from "./errors.js";

/**
 * The fields of requests that may be spelt in camelCase. They are listed, and not made by a rule, so that
 * nothing else is ever respelt: what is inside a payload, a runner or options is the user's.
 */
const spellings: Readonly<Record<string, string>> = {
  agentId: "agent_id",
  asOf: "as_of",
  eventId: "event_id",
  executionId: "execution_id",
  expiresAt: "expires_at",
  generateSecret: "generate_secret",
  gracePeriod: "grace_period",
  hasSecret: "has_secret",
  idempotencyKey: "idempotency_key",
  inputSchema: "input_schema",
  isActive: "is_active",
  maxConcurrency: "max_concurrency",
  sessionId: "session_id",
  timeoutSeconds: "timeout_seconds",
  triggerId: "trigger_id",
  userId: "user_id",
};

/** Fields by their names in the contract. */
export type Fields = Record<string, unknown>;

/**
 * Gives the fields by their names in the contract; those that are undefined are left out, and those
 * that are not known are kept.
 */
export function spelt(fields: object | undefined): Fields {
  const result: Fields = {};
  for (const [name, value] of Object.entries(fields ?? {})) {
    if (value === undefined) {
      continue;
    }
    const known = Object.hasOwn(spellings, name) ? spellings[name]! : name;
    if (Object.hasOwn(result, known)) {
      throw new HooktrailError(`${known} is given twice, in snake_case and in camelCase: leave one out`);
    }
    result[known] = value;
  }
  return result;
}

/**
 * Gives the query of a list. Unlike in a body, where the server warns of it, a field that is not
 * known is refused: a filter that is quietly ignored would give everything.
 */
export function queryOf(method: string, known: readonly string[], params: object | undefined): URLSearchParams {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(spelt(params))) {
    if (!known.includes(name)) {
      throw new HooktrailError(`${method} does not take ${name}; it takes ${known.join(", ")}`);
    }
    if (value !== null) {
      query.set(name, value instanceof Date ? value.toISOString() : String(value));
    }
  }
  return query;
}

/** Gives the part of a path that an id is. */
export function segment(name: string, id: string): string {
  // An empty id would address the list, and dots another resource.
  if (typeof id !== "string" || id === "" || id === "." || id === "..") {
    throw new HooktrailError(`${name} must be an id`);
  }
  return encodeURIComponent(id);
}

type SnakeCase<S extends string> = S extends `${infer Head}${infer Rest}`
  ? `${Head extends Lowercase<Head> ? Head : `_${Lowercase<Head>}`}${SnakeCase<Rest>}`
  : "";

/** The fields of a request, spelt in camelCase or in snake_case. */
export type Spelt<T> = T | { [Name in keyof T as SnakeCase<Name & string>]: T[Name] };
