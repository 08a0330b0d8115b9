// Loads the ESM build as a browser does: module by module, by relative addresses, into a context that has
// what pages have and nothing of Node.js. Prints what a client in there gets from the server of the
// argument. Runs with --experimental-vm-modules.
import { webcrypto } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createContext, SourceTextModule } from "node:vm";

const entry = new URL("../dist/esm/index.js", import.meta.url);
const ofPages = ["fetch", "URL", "URLSearchParams", "TextEncoder", "AbortController", "AbortSignal", "setTimeout", "clearTimeout", "performance"];
const globals = Object.fromEntries(ofPages.map((name) => [name, globalThis[name]]));
const context = createContext({ ...globals, crypto: webcrypto, server: process.argv[2] });

const modules = new Map();
async function load(url) {
  if (!modules.has(url)) {
    modules.set(url, new SourceTextModule(await readFile(new URL(url), "utf8"), { context, identifier: url }));
  }
  return modules.get(url);
}
function link(specifier, { identifier }) {
  if (!/^\.\.?\//.test(specifier)) {
    throw new Error(`${identifier} imports ${specifier}, which no browser finds`);
  }
  return load(new URL(specifier, identifier).href);
}

const script = `
  import { Hooktrail, sign, verify } from "./index.js";
  const client = new Hooktrail({ apiKey: "htk_page", baseUrl: server });
  const signature = await sign("{}", "correct-horse-battery-staple");
  export const result = {
    me: await client.me(),
    fired: await client.fire({ token: "wht_page", payload: { n: 1 }, secret: "correct-horse-battery-staple" }),
    verified: await verify("{}", signature, "correct-horse-battery-staple"),
    isNode: typeof process !== "undefined" || typeof require !== "undefined",
  };
`;
const page = new SourceTextModule(script, { context, identifier: new URL("page.js", entry).href });
await page.link(link);
await page.evaluate();
console.log(JSON.stringify({ ...page.namespace.result, modules: modules.size }));
