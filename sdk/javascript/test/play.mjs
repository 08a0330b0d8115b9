// Plays the scenarios of sdk/scenarios against the server of HOOKTRAIL_URL, with the installed package:
//
//   node play.mjs esm|cjs DIRECTORY
//
// With "esm" the package is imported, and fields are spelt in camelCase; with "cjs" it is required, and
// fields are given as the scenarios have them. The format is described in sdk/scenarios/README.md.
import { readFile, readdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { inspect, isDeepStrictEqual } from "node:util";

const [how, directory] = process.argv.slice(2);
if (!["esm", "cjs"].includes(how) || !directory) {
  console.error("usage: node play.mjs esm|cjs DIRECTORY");
  process.exit(2);
}
const sdk = how === "esm" ? await import("@hooktrail/sdk") : createRequire(import.meta.url)("@hooktrail/sdk");

const classes = {
  not_found: sdk.NotFoundError,
  validation: sdk.ValidationError,
  authentication: sdk.AuthenticationError,
  permission: sdk.PermissionDeniedError,
  rate_limited: sdk.RateLimitError,
  conflict: sdk.ConflictError,
  server: sdk.ServerError,
  connection: sdk.APIConnectionError,
};
const ids = { agents: "agent_id", webhook_triggers: "trigger_id", executions: "execution_id", api_keys: "api_key_id", subscriptions: "subscription_id" };
const ofOne = ["get", "update", "delete", "execute", "rotate_token", "rotate_secret", "remove_secret", "run", "test", "test_since", "events", "cancel", "retry", "report", "wait", "history", "received", "pause", "resume", "deliveries", "redeliver", "rewind", "skip"];
/** Methods that take nothing but the id. */
const bare = ["agents.get", "executions.get", "executions.retry", "agents.delete", "webhook_triggers.delete", "api_keys.delete", "webhook_triggers.remove_secret", "executions.received",
  "subscriptions.delete", "subscriptions.pause", "subscriptions.resume", "subscriptions.deliveries"];
/** How long an iterator that should give something may take, in milliseconds. */
const patience = 30_000;

let uniques = 0;
const unique = () => `unique-${process.pid}-${Date.now()}-${++uniques}`;
const camelCase = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
const respelt = (fields) => (how === "cjs" ? fields : Object.fromEntries(Object.entries(fields).map(([name, value]) => [camelCase(name), value])));

function check(holds, message) {
  if (!holds) {
    throw new Error(message);
  }
}

/** Puts what was saved in the place of $name and ${name}. */
function filled(value, saved) {
  const known = (name) => {
    check(name in saved || name === "unique", `nothing was saved as ${name}`);
    return name === "unique" ? unique() : saved[name];
  };
  if (typeof value === "string") {
    const whole = /^\$(\w+)$/.exec(value);
    return whole ? known(whole[1]) : value.replace(/\$\{(\w+)\}/g, (_, name) => known(name));
  }
  if (Array.isArray(value)) {
    return value.map((item) => filled(item, saved));
  }
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, filled(item, saved)]));
  }
  return value;
}

/** Gives what is at a path; names may hold hyphens, but no dots. */
const at = (result, path) => path.split(".").reduce((value, name) => value?.[name], result);

const matchers = {
  matches: (got, pattern) => typeof got === "string" && new RegExp(pattern).test(got),
  absent: (got) => got === undefined || got === null,
  present: (got) => got !== undefined && got !== null,
  length: (got, length) => got?.length === length,
  at_least: (got, least) => typeof got === "number" && got >= least,
  contains: (got, text) => typeof got === "string" && got.includes(text),
};

function fits(got, wanted) {
  const [name, ...more] = wanted !== null && typeof wanted === "object" ? Object.keys(wanted) : [];
  const matcher = more.length === 0 && Object.hasOwn(matchers, name ?? "") && !Array.isArray(wanted) ? matchers[name] : undefined;
  return matcher ? matcher(got, wanted[name]) : isDeepStrictEqual(got, wanted);
}

async function collect(iterator, count) {
  const items = [];
  for await (const item of iterator) {
    items.push(item);
    if (items.length === count) {
      break;
    }
  }
  return { items };
}

async function call(client, name, fields) {
  switch (name) {
    case "me":
      return client.me();
    case "fire":
      return client.fire(respelt(fields));
    case "audit.checkpoint":
      return client.audit.checkpoint();
    case "audit.receipt":
      return client.audit.receipt(fields.event_id);
    case "sign":
      return { value: await sdk.sign(fields.body, fields.secret) };
    case "verify":
      return { value: await sdk.verify(fields.body, fields.signature, fields.secret) };
    case "events.tail": {
      const { stop_after: count, ...filter } = fields;
      const signal = AbortSignal.timeout(patience);
      return collect(client.events.tail({ interval: 0.05, ...respelt(filter) }, { signal }), count);
    }
  }
  const [resource, method] = name.split(".");
  const target = client[camelCase(resource)];
  check(typeof target?.[camelCase(method)] === "function", `there is no method ${name}`);
  if (method === "list_all") {
    return collect(target.listAll(respelt(fields)));
  }
  if (!ofOne.includes(method)) {
    return target[camelCase(method)](respelt(fields));
  }
  const { [ids[resource]]: id, ...rest } = fields;
  if (method === "get" && rest.as_of !== undefined && typeof target.getAsOf === "function") {
    return target.getAsOf(id, rest.as_of);
  }
  if (!bare.includes(name)) {
    return target[camelCase(method)](id, respelt(rest));
  }
  check(Object.keys(rest).length === 0, `${name} takes no ${Object.keys(rest)}`);
  return (await target[method === "remove_secret" ? "removeSecret" : method](id)) ?? null;
}

function checkFailure(error, wanted, credentials) {
  check(error instanceof sdk.HooktrailError, `failed with ${inspect(error)}`);
  for (const name of ["status", "code"]) {
    check(!(name in wanted) || error[name] === wanted[name], `failed with ${name} ${error[name]}, not ${wanted[name]}: ${error.message}`);
  }
  if (wanted.details !== undefined) {
    check(Object.hasOwn(error.details, wanted.details), `the details do not name ${wanted.details}: ${inspect(error.details)}`);
  }
  if (wanted.error !== undefined) {
    check(classes[wanted.error], `there is no class of errors ${wanted.error}`);
    check(error instanceof classes[wanted.error], `failed with ${error.name}, not ${wanted.error}`);
  }
  const shown = `${error.stack} ${inspect(error, { depth: 9, showHidden: true })} ${JSON.stringify(error)}`;
  for (const credential of credentials) {
    check(!shown.includes(credential), "the error shows a credential");
  }
}

async function play(scenario) {
  const saved = {};
  for (const [index, step] of scenario.steps.entries()) {
    const where = `step ${index + 1}, ${step.call}`;
    const apiKey = filled(step.as, saved) ?? process.env.HOOKTRAIL_API_KEY;
    const fields = filled(step.with ?? {}, saved);
    const client = step.as ? new sdk.Hooktrail({ apiKey }) : new sdk.Hooktrail();
    let result, error;
    try {
      result = await call(client, step.call, fields);
    } catch (thrown) {
      error = thrown;
    }
    try {
      if (step.fails) {
        check(error, `should fail with ${inspect(step.fails)}, but gave ${inspect(result, { depth: 9 })}`);
        checkFailure(error, step.fails, [apiKey, fields.token, step.call === "fire" ? fields.secret : undefined].filter(Boolean));
      } else if (error) {
        throw error;
      }
      for (const [path, wanted] of Object.entries(filled(step.expect ?? {}, saved))) {
        const got = at(result, path);
        check(fits(got, wanted), `${path} is ${inspect(got, { depth: 9 })}, not ${inspect(wanted, { depth: 9 })}`);
      }
      for (const [name, path] of Object.entries(step.save ?? {})) {
        saved[name] = at(result, path);
        check(saved[name] !== undefined, `there is no ${path} to save`);
      }
    } catch (cause) {
      throw new Error(`${where}: ${cause.message}`, { cause });
    }
  }
}

let played = 0;
let failed = 0;
for (const file of (await readdir(directory)).filter((name) => name.endsWith(".json")).sort()) {
  for (const scenario of JSON.parse(await readFile(join(directory, file), "utf8"))) {
    played++;
    try {
      await play(scenario);
      console.log(`ok      ${file}: ${scenario.name}`);
    } catch (error) {
      failed++;
      console.log(`FAILED  ${file}: ${scenario.name}\n        ${error.message}`);
    }
  }
}
console.log(`${how}: ${played} scenarios, ${failed} failed`);
process.exit(failed > 0 || played === 0 ? 1 : 0);
