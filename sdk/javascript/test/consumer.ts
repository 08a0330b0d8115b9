// Is compiled as a user's code would be, as ESM and as CommonJS, and never run.
import { APIError, Hooktrail, RateLimitError, sign, verify, type Execution, type HooktrailEvent, type Trigger } from "@hooktrail/sdk";

export async function use(signal: AbortSignal): Promise<void> {
  const client = new Hooktrail({ apiKey: "htk_", baseUrl: "https://hooktrail.example.com", timeout: 5, maxRetries: 0 });

  const trigger = await client.webhookTriggers.create({ agentId: "a", name: "n", generateSecret: true, options: { rate_limit: 5 } });
  const token: string = trigger.data.token;
  const secret: string | undefined = trigger.data.secret;
  await client.webhookTriggers.create({ agent_id: "a", name: "n", generate_secret: true });
  await client.webhookTriggers.update(trigger.data.id, { isActive: false }, { ifMatch: trigger.data.version, signal });
  const triggers: Trigger[] = (await client.webhookTriggers.list({ is_active: true, limit: 5 })).data;
  const lastUsed: string | undefined = triggers[0]!.last_used_at;
  await client.webhookTriggers.get("t", { asOf: new Date() });
  const runs: string[] | undefined = (await client.webhookTriggers.update("t", { options: { schedule: { cron: "@daily" } } })).data.next_runs;
  const run = await client.webhookTriggers.run("t", { payload: { n: 1 } });
  const tokens: number | undefined = run.data.token_usage?.total_tokens;
  const tried = await client.webhookTriggers.test("t", { execution_id: run.data.id, options: { input_mapping: { jq: "." } } });
  const changed: number = (await client.webhookTriggers.testSince("t", { since: new Date(), limit: 5 })).data.changed;
  for await (const { count, reason } of client.rejections.listAll({ triggerId: "t" })) {
    console.log(count, reason, runs, tokens, tried.data.status, changed);
  }
  const gone: void = await client.webhookTriggers.delete("t");

  const agent = await client.agents.create({ name: "n", runner: { kind: "http", url: "https://agents.example.com" }, inputSchema: { type: "object" } });
  const signingSecret: string | undefined = agent.data.signing_secret;
  const ended = await client.agents.execute(agent.data.id, { input: { n: 1 }, sync: true, session_id: "s" });
  const execution: Execution = (await client.executions.wait(ended.data.id, { timeout: 10 }, { signal })).data;
  for await (const each of client.executions.listAll({ status: "failed", since: new Date() })) {
    const output: unknown = each.output;
    await client.executions.report(each.id, { output });
  }
  for await (const event of client.events.tail({ after: 0, type: "trigger.invoked" }, { signal })) {
    const { position, data }: HooktrailEvent = event;
    console.log(position, data);
  }
  await client.apiKeys.create({ name: "n", scopes: ["agents:read"], expires_at: "2099-12-31T23:59:59Z" });

  const fired = await client.fire({ token, payload: { any: ["thing"] }, secret, idempotencyKey: "k", wait: 5 }, { signal });
  if (fired.data.status === "ignored") {
    const reason: string = fired.data.reason;
    console.log(reason);
  } else {
    const id: string = fired.data.id;
    console.log(id, fired.replayed);
  }
  const valid: boolean = await verify(new Uint8Array(), await sign("{}", "secret"), "secret");

  try {
    await client.me();
  } catch (error) {
    if (error instanceof RateLimitError) {
      const seconds: number | undefined = error.retryAfter;
      console.log(seconds);
    } else if (error instanceof APIError) {
      const field: string | undefined = error.details["name"];
      console.log(error.status, error.code, field, error.requestId);
    }
  }

  // @ts-expect-error A misspelt field.
  await client.webhookTriggers.create({ agentID: "a", name: "n" });
  // @ts-expect-error A field that is missing.
  await client.webhookTriggers.create({ name: "n" });
  // @ts-expect-error A filter that is not known.
  await client.agents.list({ agentId: "a" });
  // @ts-expect-error A status that there is not.
  await client.executions.list({ status: "lost" });
  // @ts-expect-error Results are spelt as the server spells them.
  console.log(trigger.data.tokenPrefix);
  // @ts-expect-error A read shows no token.
  console.log((await client.webhookTriggers.get("t")).data.token);

  console.log(lastUsed, gone, signingSecret, execution.status, valid);
}
