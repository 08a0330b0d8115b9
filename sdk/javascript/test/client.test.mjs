import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import * as sdk from "@hooktrail/sdk";
import { nowhere, refusal, serve } from "./server.mjs";

const { Hooktrail } = sdk;
const apiKey = "htk_0123456789abcdefghij";
const token = "wht_0123456789abcdefghij";
const secret = "correct-horse-battery-staple";
const clientOf = (server, options) => new Hooktrail({ apiKey, baseUrl: server.url, ...options });
const ok = { body: { data: { id: "1" } } };
const overloaded = refusal(503, "overloaded");
const at = (position) => ({ position, type: "agent.updated" });
const pageOf = (data, next_cursor) => ({ body: { data, meta: { total: 9, ...(next_cursor && { next_cursor }) } } });

/** What printing a value in any usual way shows. */
const shown = (value) => `${value} ${value?.stack} ${inspect(value, { depth: 9, showHidden: true })} ${JSON.stringify(value)}`;

async function failure(promise) {
  return promise.then(
    (result) => assert.fail(`should fail, but gave ${inspect(result)}`),
    (error) => error,
  );
}

describe("the constructor", () => {
  test("takes the key and the URL from the environment", async (t) => {
    const server = await serve(t, ok);
    process.env.HOOKTRAIL_API_KEY = "htk_environment";
    process.env.HOOKTRAIL_URL = `${server.url}/behind/a/proxy/`;
    try {
      await new Hooktrail().me();
    } finally {
      delete process.env.HOOKTRAIL_API_KEY;
      delete process.env.HOOKTRAIL_URL;
    }
    assert.equal(server.requests[0].url, "/behind/a/proxy/api/v1/me");
    assert.equal(server.requests[0].headers["x-api-key"], "htk_environment");
  });

  test("needs a key for all but fire", async (t) => {
    const server = await serve(t, ok);
    const client = new Hooktrail({ baseUrl: server.url });
    assert.match((await failure(client.agents.list())).message, /HOOKTRAIL_API_KEY/);
    assert.equal(server.requests.length, 0);
    await client.fire({ token });
    assert.equal(server.requests[0].headers["x-api-key"], undefined);
  });

  for (const [name, options, message] of [
    ["a timeout in milliseconds", { timeout: 30000 }, /timeout is in seconds, above 0 and at most 600, not 30000/],
    ["no time at all", { timeout: 0 }, /timeout/],
    ["a timeout that is no number", { timeout: "soon" }, /timeout/],
    ["retries below 0", { maxRetries: -1 }, /maxRetries/],
    ["half a retry", { maxRetries: 0.5 }, /maxRetries/],
    ["a URL without a scheme", { baseUrl: "hooktrail.example.com" }, /baseUrl/],
    ["another scheme", { baseUrl: "ftp://hooktrail.example.com" }, /baseUrl/],
    ["a password in the URL", { baseUrl: `https://user:${secret}@hooktrail.example.com` }, /baseUrl must not hold/],
    ["a key with a line end", { apiKey: `${apiKey}\n` }, /apiKey/],
    ["an empty key", { apiKey: "" }, /apiKey/],
    ["a key that is no text", { apiKey: { apiKey } }, /apiKey/],
  ]) {
    test(`refuses ${name}`, () => {
      assert.throws(
        () => new Hooktrail(options),
        (error) => {
          assert.ok(error instanceof sdk.HooktrailError);
          assert.match(error.message, message);
          assert.ok(!shown(error).includes(apiKey) && !shown(error).includes(secret));
          return true;
        },
      );
    });
  }

  test("takes another fetch", async () => {
    const urls = [];
    const client = new Hooktrail({ apiKey, baseUrl: "https://hooktrail.example.com", fetch: async (url) => (urls.push(url), Response.json({ data: { id: "1" } })) });
    assert.deepEqual(await client.agents.get("1"), { data: { id: "1" } });
    assert.deepEqual(urls, ["https://hooktrail.example.com/api/v1/agents/1"]);
  });
});

describe("requests", () => {
  for (const [name, call, method, url, body] of [
    ["webhookTriggers.create", (c) => c.webhookTriggers.create({ agentId: "a", name: "n", generateSecret: true, isActive: false }), "POST", "/webhook-triggers", { agent_id: "a", name: "n", generate_secret: true, is_active: false }],
    ["webhookTriggers.create in snake_case", (c) => c.webhookTriggers.create({ agent_id: "a", name: "n", generate_secret: true }), "POST", "/webhook-triggers", { agent_id: "a", name: "n", generate_secret: true }],
    ["a field that this library does not know", (c) => c.webhookTriggers.create({ agentId: "a", name: "n", newField: 1 }), "POST", "/webhook-triggers", { agent_id: "a", name: "n", newField: 1 }],
    ["a field that is undefined", (c) => c.webhookTriggers.update("t", { name: undefined, isActive: true }), "PATCH", "/webhook-triggers/t", { is_active: true }],
    ["options, untouched", (c) => c.webhookTriggers.update("t", { options: { rate_limit: null, isActive: 1 } }), "PATCH", "/webhook-triggers/t", { options: { rate_limit: null, isActive: 1 } }],
    ["a runner and a schema, untouched", (c) => c.agents.create({ name: "n", runner: { kind: "http", headers: { agentId: "x" } }, inputSchema: { properties: { agentId: {} } }, timeoutSeconds: 5, maxConcurrency: 1 }), "POST", "/agents", { name: "n", runner: { kind: "http", headers: { agentId: "x" } }, input_schema: { properties: { agentId: {} } }, timeout_seconds: 5, max_concurrency: 1 }],
    ["an input, untouched", (c) => c.agents.execute("a", { input: { agentId: [{ userId: 1 }], none: null }, sessionId: "s", userId: "u", metadata: { userId: "m" } }), "POST", "/agents/a/execute", { input: { agentId: [{ userId: 1 }], none: null }, session_id: "s", user_id: "u", metadata: { userId: "m" } }],
    ["a report, untouched", (c) => c.executions.report("e", { output: { agentId: 1 } }), "POST", "/executions/e/report", { output: { agentId: 1 } }],
    ["executions.cancel", (c) => c.executions.cancel("e"), "POST", "/executions/e/cancel", {}],
    ["executions.retry", (c) => c.executions.retry("e"), "POST", "/executions/e/retry", {}],
    ["a time as a Date", (c) => c.apiKeys.create({ name: "n", scopes: ["events:read"], expiresAt: new Date(0) }), "POST", "/api-keys", { name: "n", scopes: ["events:read"], expires_at: "1970-01-01T00:00:00.000Z" }],
    ["webhookTriggers.rotateToken", (c) => c.webhookTriggers.rotateToken("t", { gracePeriod: 0 }), "POST", "/webhook-triggers/t/rotate-token", { grace_period: 0 }],
    ["webhookTriggers.rotateSecret", (c) => c.webhookTriggers.rotateSecret("t"), "POST", "/webhook-triggers/t/rotate-secret", {}],
    ["webhookTriggers.removeSecret", (c) => c.webhookTriggers.removeSecret("t"), "DELETE", "/webhook-triggers/t/secret"],
    ["webhookTriggers.get of the past", (c) => c.webhookTriggers.get("t", { asOf: 7 }), "GET", "/webhook-triggers/t?as_of=7"],
    ["webhookTriggers.list", (c) => c.webhookTriggers.list({ agentId: "a", isActive: false, name: "x y&z", limit: undefined }), "GET", "/webhook-triggers?agent_id=a&is_active=false&name=x+y%26z"],
    ["executions.list", (c) => c.executions.list({ trigger_id: "t", since: new Date(0) }), "GET", "/executions?trigger_id=t&since=1970-01-01T00%3A00%3A00.000Z"],
    ["an id with other signs", (c) => c.agents.get("../me?x=1#y"), "GET", "/agents/..%2Fme%3Fx%3D1%23y"],
  ]) {
    test(`send ${name}`, async (t) => {
      const server = await serve(t, { ...ok, ...(method === "DELETE" && { status: 204 }) });
      const result = await call(clientOf(server));
      const [request] = server.requests;
      assert.equal(request.method, method);
      assert.equal(request.url, `/api/v1${url}`);
      assert.equal(request.headers["x-api-key"], apiKey);
      assert.deepEqual(request.body.length ? JSON.parse(request.body) : undefined, body);
      assert.equal(request.headers["content-type"], body && "application/json");
      assert.deepEqual(result, method === "DELETE" ? undefined : ok.body);
    });
  }

  test("are not sent when they cannot be meant", async (t) => {
    const server = await serve(t, ok);
    const client = clientOf(server);
    for (const [call, message] of [
      [() => client.webhookTriggers.create({ agentId: "a", agent_id: "b", name: "n" }), /agent_id is given twice/],
      [() => client.webhookTriggers.list({ agentID: "a" }), /webhookTriggers.list does not take agentID; it takes agent_id, is_active, name, page, limit, cursor/],
      [() => client.webhookTriggers.delete(""), /the trigger's id must be an id/],
      [() => client.webhookTriggers.delete(".."), /the trigger's id/],
      [() => client.agents.delete(undefined), /the agent's id/],
      [() => client.fire({ token: "" }), /token/],
      [() => client.fire({ token, payload: 1, body: "1" }), /payload and body/],
      [() => client.fire({ token, payload: () => 1 }), /payload/],
      [() => client.fire({ token, body: 1 }), /body/],
      [() => client.fire({ token, secret: "" }), /secret/],
      [() => client.fire({ token, wait: 61 }), /wait is a whole number of seconds, 0 to 60, not 61/],
      [() => client.fire({ token, wait: 0.5 }), /wait/],
      [() => client.fire({ token, idempotencyKey: "" }), /idempotencyKey/],
      [() => client.fire({ token, idempotencyKey: "a\nb" }), /idempotencyKey/],
      [() => client.fire({ token, idempotencyKey: "ü".repeat(128) }), /idempotencyKey/],
      [() => client.executions.wait("e", { timeout: 0 }), /timeout/],
      [() => client.agents.list({}, { timeout: 601 }), /timeout/],
      [async () => client.events.tail({ interval: 0 }), /interval/],
      [async () => client.events.tail({ after: -1 }), /after/],
      [async () => client.events.tail({ kind: "x" }), /events.tail does not take kind/],
      [() => client.agents.listAll({ page: 2 }).next(), /agents.listAll does not take page/],
    ]) {
      const error = await failure(call());
      assert.ok(error instanceof sdk.HooktrailError, inspect(error));
      assert.match(error.message, message);
    }
    assert.equal(server.requests.length, 0);
  });

  test("change a version that is still the same", async (t) => {
    const server = await serve(t, refusal(412, "precondition_failed"));
    for (const call of [(c) => c.agents.update("a", {}, { ifMatch: 3 }), (c) => c.webhookTriggers.delete("t", { ifMatch: 3 })]) {
      assert.ok((await failure(call(clientOf(server)))) instanceof sdk.ConflictError);
      assert.equal(server.requests.at(-1).headers["if-match"], '"3"');
    }
  });
});

describe("webhook calls", () => {
  test("are signed over what is sent", async (t) => {
    const server = await serve(t, { status: 202, headers: { "Idempotent-Replayed": "true" }, body: { data: { id: "1", status: "pending" } } });
    const client = clientOf(server);
    const fired = await client.fire({ token, payload: { agentId: "Grüße", deep: { userId: null } }, secret, idempotencyKey: "Schlüssel", wait: 5 });
    assert.deepEqual(fired, { data: { id: "1", status: "pending" }, replayed: true });
    const [{ url, headers, body }] = server.requests;
    assert.equal(url, "/api/v1/webhook/trigger");
    assert.equal(body.toString(), '{"agentId":"Grüße","deep":{"userId":null}}');
    assert.equal(headers.authorization, `Bearer ${token}`);
    assert.equal(headers["x-api-key"], undefined);
    assert.equal(headers["content-type"], "application/json");
    assert.equal(headers["x-webhook-signature"], await sdk.sign(body, secret));
    assert.equal(Buffer.from(headers["idempotency-key"], "latin1").toString(), "Schlüssel");
    assert.equal(headers.prefer, "wait=5");

    await client.fire({ token, payload: { n: 1 } });
    for (const name of ["x-webhook-signature", "idempotency-key", "prefer"]) {
      assert.equal(server.requests[1].headers[name], undefined, name);
    }
  });

  test("send exact bytes, and any JSON", async (t) => {
    const server = await serve(t, { status: 202 });
    const client = clientOf(server);
    const bytes = Buffer.from('{"n": 1e400 }');
    for (const [call, sent] of [
      [{ body: '{ "n":1.0 }' }, '{ "n":1.0 }'],
      [{ body: bytes }, '{"n": 1e400 }'],
      [{ body: bytes.subarray(1, 4) }, '"n"'],
      [{ body: new Uint8Array(bytes).buffer }, '{"n": 1e400 }'],
      [{ payload: "text" }, '"text"'],
      [{ payload: null }, "null"],
      [{}, "{}"],
    ]) {
      assert.equal((await client.fire({ token, ...call })).replayed, false);
      assert.equal(server.requests.at(-1).body.toString(), sent);
    }
  });

  test("have longer to wait for a result", async (t) => {
    const slowly = () => new Promise((resolve) => setTimeout(() => resolve(ok), 400));
    const server = await serve(t, slowly);
    const client = clientOf(server, { timeout: 0.1, maxRetries: 0 });
    assert.ok((await failure(client.fire({ token }))) instanceof sdk.APITimeoutError);
    await client.fire({ token, wait: 10 });
    await client.agents.execute("a", { sync: true });
  });
});

describe("a failed call", { concurrency: true }, () => {
  for (const [name, call] of [
    ["a read", (c) => c.me()],
    ["a deletion", (c) => c.agents.delete("a")],
    ["a webhook call with an idempotency key", (c) => c.fire({ token, payload: { n: 1 }, secret, idempotencyKey: "k" })],
  ]) {
    for (const [why, answer] of [
      ["502", { status: 502, body: "<html>Bad gateway</html>" }],
      ["503", overloaded],
      ["504", { status: 504, body: "" }],
      ["429", refusal(429, "rate_limited")],
      ["a broken connection", "break"],
      ["half an answer", { ...ok, half: "break" }],
    ]) {
      test(`is repeated: ${name} after ${why}`, async (t) => {
        const server = await serve(t, answer, ok);
        await call(clientOf(server));
        assert.equal(server.requests.length, 2);
        const [first, second] = server.requests.map(({ at, ...request }) => request);
        assert.deepEqual(second, first, "the repeat is the same request");
      });
    }
    test(`is not repeated: ${name} after 500`, async (t) => {
      const server = await serve(t, refusal(500, "internal"), ok);
      assert.ok((await failure(call(clientOf(server)))) instanceof sdk.ServerError);
      assert.equal(server.requests.length, 1);
    });
  }

  for (const [name, call] of [
    ["a creation", (c) => c.agents.create({ name: "n" })],
    ["a change", (c) => c.agents.update("a", { name: "n" })],
    ["a run", (c) => c.agents.execute("a")],
    ["a rotation", (c) => c.webhookTriggers.rotateToken("t")],
    ["a retry of an execution", (c) => c.executions.retry("e")],
    ["a webhook call without an idempotency key", (c) => c.fire({ token })],
  ]) {
    for (const [why, answer] of [["503", overloaded], ["a broken connection", "break"]]) {
      test(`is not repeated: ${name} after ${why}`, async (t) => {
        const server = await serve(t, answer, ok);
        const error = await failure(call(clientOf(server)));
        assert.ok(error instanceof (answer === "break" ? sdk.APIConnectionError : sdk.ServerError), inspect(error));
        assert.equal(server.requests.length, 1);
      });
    }
  }

  test("is repeated as often as asked, after growing pauses", async (t) => {
    const server = await serve(t, overloaded);
    assert.equal((await failure(clientOf(server).me())).code, "overloaded");
    assert.equal(server.requests.length, 3);
    const [first, second, third] = server.requests.map(({ at }) => at);
    assert.ok(second - first >= 240 && third - second >= 490, `${second - first} ms, ${third - second} ms`);
    await failure(clientOf(server, { maxRetries: 0 }).me());
    assert.equal(server.requests.length, 4);
    await failure(clientOf(server).me({ maxRetries: 0 }));
    assert.equal(server.requests.length, 5);
  });

  for (const [name, retryAfter] of [
    ["seconds", () => "1"],
    // A date has whole seconds, so this is 1 to 2 of them away.
    ["a date", () => new Date(Date.now() + 2000).toUTCString()],
  ]) {
    test(`is repeated when the server wants it, told by ${name}`, async (t) => {
      const server = await serve(t, () => refusal(429, "rate_limited", "no", { headers: { "Retry-After": retryAfter() } }), ok);
      await clientOf(server).me();
      const [first, second] = server.requests;
      assert.ok(second.at - first.at >= 950, `after ${second.at - first.at} ms`);
    });
  }

  test("is not repeated when that is too far off", async (t) => {
    const server = await serve(t, refusal(429, "rate_limited", "no", { headers: { "Retry-After": "3600" } }), ok);
    const error = await failure(clientOf(server).me());
    assert.ok(error instanceof sdk.RateLimitError);
    assert.equal(error.retryAfter, 3600);
    assert.equal(server.requests.length, 1);
  });
});

describe("a call", { concurrency: true }, () => {
  for (const [name, answer] of [["without an answer", "hang"], ["with half an answer", { ...ok, half: "hang" }]]) {
    test(`${name} ends after its timeout`, async (t) => {
      const server = await serve(t, answer);
      const error = await failure(clientOf(server, { timeout: 0.2, maxRetries: 0 }).me());
      assert.ok(error instanceof sdk.APITimeoutError && error instanceof sdk.APIConnectionError, inspect(error));
      assert.match(error.message, /^GET \/api\/v1\/me: no answer from http:\/\/127\.0\.0\.1:\d+ in 0\.2 s$/);
    });

    test(`${name} ends when it is aborted`, async (t) => {
      const aborter = new AbortController();
      const server = await serve(t, () => (setTimeout(() => aborter.abort(new Error("changed my mind")), 50), answer));
      const error = await failure(clientOf(server, { maxRetries: 0 }).me({ signal: aborter.signal }));
      assert.equal(error.message, "changed my mind");
      assert.equal(server.requests.length, 1);
    });
  }

  test("is aborted while it waits to be repeated", async (t) => {
    const aborter = new AbortController();
    const server = await serve(t, () => (setTimeout(() => aborter.abort(), 100), refusal(503, "overloaded", "no", { headers: { "Retry-After": "60" } })));
    assert.equal((await failure(clientOf(server).me({ signal: aborter.signal }))).name, "AbortError");
    assert.equal(server.requests.length, 1);
  });

  test("is not sent when it is aborted before", async (t) => {
    const server = await serve(t, ok);
    assert.equal((await failure(clientOf(server).me({ signal: AbortSignal.abort() }))).name, "AbortError");
    assert.equal(server.requests.length, 0);
  });

  test("tells why the server cannot be reached", async () => {
    const error = await failure(new Hooktrail({ apiKey, baseUrl: await nowhere(), maxRetries: 0 }).me());
    assert.ok(error instanceof sdk.APIConnectionError);
    assert.match(error.message, /^GET \/api\/v1\/me: no answer from http:\/\/127\.0\.0\.1:\d+: .*ECONNREFUSED/);
    assert.ok(error.cause);
  });

  test("never follows a redirect with its key", async (t) => {
    const other = await serve(t, ok);
    const server = await serve(t, { status: 302, headers: { Location: other.url } });
    const error = await failure(clientOf(server).me());
    assert.equal(error.code, "invalid_response");
    assert.match(error.message, /was answered with a redirect: check that baseUrl/);
    assert.equal(other.requests.length, 0);
  });
});

describe("errors", () => {
  for (const [status, code, kind] of [
    [400, "validation_failed", "ValidationError"],
    [400, "conflict", "ConflictError"],
    [400, "schema_mismatch", "ValidationError"],
    [401, "invalid_signature", "AuthenticationError"],
    [403, "forbidden", "PermissionDeniedError"],
    [404, "not_found", "NotFoundError"],
    [405, "method_not_allowed", "APIError"],
    [409, "conflict", "ConflictError"],
    [410, "trigger_inactive", "APIError"],
    [412, "precondition_failed", "ConflictError"],
    [413, "payload_too_large", "ValidationError"],
    [415, "unsupported_media_type", "ValidationError"],
    [422, "idempotency_key_reused", "ValidationError"],
    [429, "rate_limited", "RateLimitError"],
    [418, "constructor", "APIError"],
    [500, "internal", "ServerError"],
    [503, "unavailable", "ServerError"],
  ]) {
    test(`of ${status} ${code} are a ${kind}`, async (t) => {
      const details = status < 500 ? { name: "is required" } : {};
      const server = await serve(t, refusal(status, code, "what is wrong", { error: { details } }));
      const error = await failure(clientOf(server, { maxRetries: 0 }).me());
      assert.equal(error.constructor, sdk[kind]);
      assert.ok(error instanceof sdk.APIError && error instanceof sdk.HooktrailError && error instanceof Error);
      assert.equal(error.name, kind);
      assert.equal(error.message, `what is wrong (${status} ${code}, request request-2)`);
      const { requestId } = error;
      assert.deepEqual({ status: error.status, code: error.code, details: error.details, requestId }, { status, code, details, requestId: "request-2" });
    });
  }

  test("name all fields that are wrong", async (t) => {
    const server = await serve(t, refusal(400, "validation_failed", "several fields are not valid", { error: { details: { name: "is required", "runner.url": "must be a URL" } } }));
    const error = await failure(clientOf(server).agents.create({ name: "" }));
    assert.equal(error.message, "several fields are not valid: name is required; runner.url must be a URL (400 validation_failed, request request-2)");
  });

  for (const [name, answer, status] of [
    ["HTML with success", { body: "<html>Welcome</html>" }, 200],
    ["HTML with a failure", { status: 404, body: "<html>No such page</html>" }, 404],
    ["JSON of another service", { status: 400, body: { message: "no" } }, 400],
    ["null", { body: "null" }, 200],
  ]) {
    test(`are told for an answer that is not one of Hooktrail: ${name}`, async (t) => {
      const server = await serve(t, answer);
      const error = await failure(clientOf(server).me());
      assert.equal(error.constructor, sdk.ServerError);
      assert.equal(error.status, status);
      assert.equal(error.code, "invalid_response");
      assert.equal(error.requestId, "request-1");
      assert.match(error.message, /GET \/api\/v1\/me was answered with status \d+ and no JSON that Hooktrail sends: check that baseUrl, http:/);
    });
  }

  test("and clients show no key, token or secret", async (t) => {
    const server = await serve(t, refusal(401, "unauthorized"));
    const client = clientOf(server, { maxRetries: 0 });
    const gone = new Hooktrail({ apiKey, baseUrl: await nowhere(), maxRetries: 0 });
    const slow = clientOf(await serve(t, "hang"), { maxRetries: 0, timeout: 0.1 });
    const call = { token, secret, payload: { n: 1 } };
    for (const value of [
      client,
      client.webhookTriggers,
      await failure(client.me()),
      await failure(client.fire(call)),
      await failure(gone.me()),
      await failure(gone.fire(call)),
      await failure(slow.me()),
      await failure(slow.fire(call)),
      await failure(client.fire({ ...call, token: `${token}\n` })),
      await failure(client.fire({ ...call, token: `${token}ü` })),
      await failure(client.fire({ ...call, idempotencyKey: "\n" })),
    ]) {
      for (const credential of [apiKey, token, secret]) {
        assert.ok(!shown(value).includes(credential), shown(value));
      }
    }
  });
});

describe("listAll", () => {
  test("follows the cursor to the end, with the filters", async (t) => {
    const server = await serve(t, pageOf([1, 2], "c 1"), pageOf([], "c2"), pageOf([3]));
    const found = [];
    for await (const trigger of clientOf(server).webhookTriggers.listAll({ agentId: "a" })) {
      found.push(trigger);
    }
    assert.deepEqual(found, [1, 2, 3]);
    assert.deepEqual(
      server.requests.map(({ url }) => url),
      ["", "&cursor=c+1", "&cursor=c2"].map((cursor) => `/api/v1/webhook-triggers?agent_id=a&limit=100${cursor}`),
    );
  });

  test("asks for no more than is taken", async (t) => {
    const server = await serve(t, pageOf([1, 2], "more"));
    for await (const _ of clientOf(server).agents.listAll({ limit: 2 })) {
      break;
    }
    assert.deepEqual(server.requests.map(({ url }) => url), ["/api/v1/agents?limit=2"]);
  });

  test("fails where a page does", async (t) => {
    const server = await serve(t, pageOf([1], "more"), refusal(403, "forbidden"));
    const iterator = clientOf(server).executions.listAll();
    assert.equal((await iterator.next()).value, 1);
    assert.ok((await failure(iterator.next())) instanceof sdk.PermissionDeniedError);
  });
});

describe("events.tail", { concurrency: true }, () => {
  const urls = (server) => server.requests.map(({ url }) => url.replace("/api/v1/events?", "")).filter((url) => !url.includes("/stream?"));
  /** The answer of a server, or of a proxy, that has no streams. */
  const noStream = refusal(404, "not_found");

  async function take(iterator, count) {
    const positions = [];
    for await (const { position } of iterator) {
      positions.push(position);
      if (positions.length === count) {
        break;
      }
    }
    return positions;
  }

  test("goes on from a position, without waiting where there is more", async (t) => {
    const server = await serve(t, noStream, pageOf([at(5), at(7)], "more"), pageOf([at(9)]));
    assert.deepEqual(await take(clientOf(server).events.tail({ stream: "agent-1", after: 4, interval: 3600 }), 3), [5, 7, 9]);
    assert.deepEqual(urls(server), [4, 7].map((after) => `stream=agent-1&limit=100&after=${after}`));
  });

  test("waits where there is no more", async (t) => {
    const server = await serve(t, refusal(405, "method_not_allowed"), pageOf([at(5)]), pageOf([]), pageOf([at(9)]));
    assert.deepEqual(await take(clientOf(server).events.tail({ after: 4, interval: 0.2 }), 2), [5, 9]);
    assert.deepEqual(urls(server), [4, 5, 5].map((after) => `limit=100&after=${after}`));
    const pauses = server.requests.slice(2).map((request, i) => request.at - server.requests[i + 1].at);
    assert.ok(pauses.every((pause) => pause >= 195), `${pauses} ms`);
  });

  test("begins with what comes from now on", async (t) => {
    const server = await serve(t, pageOf([at(41)]), pageOf([]), pageOf([at(42)]));
    assert.deepEqual(await take(clientOf(server).events.tail({ type: "agent.updated" }), 1), [42]);
    assert.deepEqual(urls(server), ["limit=1", "type=agent.updated&limit=100&after=41"]);
  });

  test("outlasts a server that goes away", async (t) => {
    const server = await serve(t, noStream, pageOf([at(1)]), "break", overloaded, pageOf([at(2)]));
    assert.deepEqual(await take(clientOf(server, { maxRetries: 0 }).events.tail({ after: 0, interval: 0.01 }), 2), [1, 2]);
    assert.deepEqual(urls(server).slice(1), Array(3).fill("limit=100&after=1"));
  });

  test("does not wait for a server that was never there", async (t) => {
    const server = await serve(t, "break");
    assert.ok((await failure(take(clientOf(server, { maxRetries: 0 }).events.tail({ after: 0 }), 1))) instanceof sdk.APIConnectionError);
  });

  test("fails when the key is revoked", async (t) => {
    const server = await serve(t, noStream, pageOf([at(1)]), refusal(401, "unauthorized"));
    assert.ok((await failure(take(clientOf(server).events.tail({ after: 0, interval: 0.01 }), 2))) instanceof sdk.AuthenticationError);
  });

  for (const [name, answers] of [
    ["between two looks", [pageOf([at(1)])]],
    ["in the midst of a page", [pageOf([at(1), at(2)])]],
    ["while it looks", [pageOf([at(1)], "more"), "hang"]],
    ["while the server is away", [pageOf([at(1)], "more"), overloaded]],
  ]) {
    test(`ends without an error when it is aborted ${name}`, async (t) => {
      const aborter = new AbortController();
      const server = await serve(t, noStream, ...answers);
      const seen = [];
      for await (const { position } of clientOf(server).events.tail({ after: 0, interval: 3600 }, { signal: aborter.signal })) {
        seen.push(position);
        if (name === "in the midst of a page") {
          aborter.abort();
        } else {
          setTimeout(() => aborter.abort(), 50);
        }
      }
      assert.deepEqual(seen, [1]);
    });
  }

  const encoder = new TextEncoder();
  const streamed = (position, end = "\n") => [`id: ${position}`, "event: t", `data: ${JSON.stringify({ position, type: "t", name: "Grüße" })}`, "", ""].join(end);
  const stillOpen = Symbol("still open");

  /** A fetch that answers with streams, each of its pieces; what ends with stillOpen does not end. */
  function streams(...bodies) {
    const requests = [];
    const fetch = async (url, { headers, signal }) => {
      const request = { url: new URL(url), headers: new Headers(headers), left: false, at: performance.now() };
      requests.push(request);
      const answer = bodies[requests.length - 1];
      if (answer instanceof Response) {
        return answer;
      }
      signal.addEventListener("abort", () => (request.left = true));
      const body = new ReadableStream({
        start(controller) {
          signal.addEventListener("abort", () => controller.error(signal.reason));
        },
        pull(controller) {
          const piece = answer.shift();
          if (piece === undefined) {
            controller.close();
          } else if (piece === stillOpen) {
            return new Promise(() => {});
          } else {
            controller.enqueue(typeof piece === "string" ? encoder.encode(piece) : piece);
          }
        },
      });
      return new Response(body, { headers: { "Content-Type": "text/event-stream; charset=utf-8" } });
    };
    return { requests, client: new Hooktrail({ apiKey, baseUrl: "http://hooktrail.test", fetch, maxRetries: 0 }) };
  }

  test("reads a stream however it is cut", async () => {
    const text = encoder.encode(
      `: a comment\n\n${streamed(3)}${streamed(5, "\r\n")}${streamed(8, "\r")}id:9\n\nid:10\nretry: 5\ndata: {"position":\ndata:10}\n\nid: 12\ndata: {"posi`,
    );
    for (const size of [1, 2, 3, 7, 50, text.length]) {
      const pieces = Array.from({ length: Math.ceil(text.length / size) }, (_, i) => text.slice(i * size, (i + 1) * size));
      const { client, requests } = streams(pieces, [streamed(12), stillOpen]);
      const names = [];
      for await (const { position, name } of client.events.tail({ after: 2 })) {
        names.push([position, name]);
        if (position === 12) {
          break;
        }
      }
      assert.deepEqual(names, [[3, "Grüße"], [5, "Grüße"], [8, "Grüße"], [10, undefined], [12, "Grüße"]]);
      assert.equal(requests[0].url.pathname + requests[0].url.search, "/api/v1/events/stream?after=2");
      assert.equal(requests[0].headers.get("Last-Event-ID"), null);
      assert.match(requests[0].headers.get("Accept"), /^text\/event-stream/);
      assert.equal(requests[1].headers.get("Last-Event-ID"), "10");
      assert.ok(requests[1].left, "who leaves the loop closes the stream");
      assert.ok(requests[1].at - requests[0].at >= 200, "it does not begin again at once");
    }
  });

  test("keeps its place by marks, and gives nothing twice", async () => {
    const away = new Response("<html>", { status: 502 });
    const { client, requests } = streams(["id: 7\n\n", streamed(9), "id: 4000\n\n"], away, [streamed(9), streamed(4001), stillOpen]);
    assert.deepEqual(await take(client.events.tail({ after: 2, type: "t" }), 2), [9, 4001]);
    for (const { url, headers } of requests.slice(1)) {
      assert.equal(url.search, "?type=t&after=4000");
      assert.equal(headers.get("Last-Event-ID"), "4000");
    }
  });

  test("fails when a stream is refused", async () => {
    const refused = Response.json({ error: { code: "unauthorized", message: "no" } }, { status: 401 });
    const { client } = streams([streamed(3)], refused);
    assert.ok((await failure(take(client.events.tail({ after: 2 }), 2))) instanceof sdk.AuthenticationError);
  });

  test("ends without an error, and at once, when a stream is aborted", async () => {
    const aborter = new AbortController();
    const { client, requests } = streams([streamed(3), stillOpen]);
    setTimeout(() => aborter.abort(), 50);
    const seen = [];
    for await (const { position } of client.events.tail({ after: 2 }, { signal: aborter.signal })) {
      seen.push(position);
    }
    assert.deepEqual(seen, [3]);
    assert.ok(requests[0].left);
  });
});

describe("a stream that falls silent", () => {
  const hang = () => new Promise(() => {});

  /** Answers with what begins so and then gives nothing more, and after it with a page. */
  async function positions(t, begin) {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const urls = [];
    const fetch = async (url, { signal }) => {
      urls.push(url.replace(/.*v1/, ""));
      if (urls.length > 1) {
        return urls.length === 2 && begin ? new Response('id: 4\ndata: {"position": 4}\n\n', { headers: { "Content-Type": "text/event-stream" } }) : Response.json({ data: [{ position: 4 }], meta: {} });
      }
      const aborted = new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      if (begin === undefined) {
        return aborted;
      }
      const body = new ReadableStream({ start: (controller) => void (begin && controller.enqueue(new TextEncoder().encode(begin)), aborted.catch((why) => controller.error(why))), pull: hang });
      return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
    };
    const client = new Hooktrail({ apiKey, baseUrl: "http://hooktrail.test", fetch, maxRetries: 0 });
    const next = client.events.tail({ after: 2 }).next();
    let ended = false;
    next.finally(() => (ended = true));
    let seconds = 0;
    for (; !ended && seconds < 120; seconds++) {
      await new Promise((resolve) => setImmediate(resolve));
      t.mock.timers.tick(1000);
    }
    return { position: (await next).value.position, urls, seconds };
  }

  test("is opened again where it was", async (t) => {
    const { position, urls, seconds } = await positions(t, "id: 3\n\n");
    assert.equal(position, 4);
    assert.deepEqual(urls, ["/events/stream?after=2", "/events/stream?after=3"]);
    assert.ok(seconds >= 30 && seconds < 40, `${seconds} s`);
  });

  for (const [what, begin] of [["anything in it", ""], ["an answer", undefined]]) {
    test(`is not asked for again if there never was ${what}`, async (t) => {
      const { position, urls, seconds } = await positions(t, begin);
      assert.equal(position, 4);
      assert.deepEqual(urls, ["/events/stream?after=2", "/events?limit=100&after=2"]);
      assert.ok(seconds >= 30 && seconds < 40, `${seconds} s`);
    });
  }
});

describe("executions.wait", { concurrency: true }, () => {
  const execution = (status) => ({ body: { data: { id: "e", status } } });

  for (const status of ["completed", "failed", "cancelled"]) {
    test(`gives an execution that is ${status}`, async (t) => {
      const server = await serve(t, execution("pending"), execution("running"), execution(status));
      assert.deepEqual(await clientOf(server).executions.wait("e"), execution(status).body);
      assert.deepEqual(server.requests.map(({ url }) => url), Array(3).fill("/api/v1/executions/e"));
    });
  }

  test("gives up after its timeout", async (t) => {
    const server = await serve(t, execution("running"));
    const began = performance.now();
    const error = await failure(clientOf(server).executions.wait("e", { timeout: 0.3 }));
    assert.ok(performance.now() - began >= 295);
    assert.ok(error instanceof sdk.WaitTimeoutError && error instanceof sdk.HooktrailError);
    assert.equal(error.message, "execution e is still running after 0.3 s");
    assert.deepEqual([error.executionId, error.status], ["e", "running"]);
  });

  test("ends when it is aborted", async (t) => {
    const aborter = new AbortController();
    const server = await serve(t, () => (setTimeout(() => aborter.abort(), 20), execution("running")));
    assert.equal((await failure(clientOf(server).executions.wait("e", {}, { signal: aborter.signal }))).name, "AbortError");
  });
});
