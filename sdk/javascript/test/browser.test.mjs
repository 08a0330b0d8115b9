import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { promisify } from "node:util";
import { serve } from "./server.mjs";

test("the ESM build works where there is nothing of Node.js", async (t) => {
  const server = await serve(t, { body: { data: { id: "1" } } });
  const page = fileURLToPath(new URL("page.mjs", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ["--no-warnings", "--experimental-vm-modules", page, server.url]);
  const { modules, ...result } = JSON.parse(stdout);
  assert.deepEqual(result, { me: { data: { id: "1" } }, fired: { data: { id: "1" }, replayed: false }, verified: true, isNode: false });
  assert.ok(modules > 5, "all modules of the build were loaded");
  assert.deepEqual(
    server.requests.map(({ url, headers }) => [url, headers["x-api-key"], headers.authorization]),
    [
      ["/api/v1/me", "htk_page", undefined],
      ["/api/v1/webhook/trigger", undefined, "Bearer wht_page"],
    ],
  );
});
