import { HooktrailError } from "./errors.js";

/** The exact bytes of a body, or text that stands for its UTF-8. */
export type Body = string | Uint8Array | ArrayBuffer;

/** A Uint8Array as WebCrypto and fetch want it; users' compilers before TypeScript 5.7 know no Uint8Array<ArrayBuffer>. */
export type Bytes = ReturnType<InstanceType<typeof TextEncoder>["encode"]>;

const prefix = "sha256=";

/**
 * Signs a body as Hooktrail wants it in the header `X-Webhook-Signature`:
 * `sha256=` and the hex HMAC-SHA256 of the exact bytes, keyed with the secret.
 *
 * @throws HooktrailError if the secret is empty, or if there is no WebCrypto (browsers have it only
 * on pages that came by HTTPS or from localhost).
 */
export async function sign(body: Body, secret: string): Promise<string> {
  const { subtle, key } = await keyOf(secret);
  const mac = new Uint8Array(await subtle.sign("HMAC", key, bytesOf(body)));
  return prefix + Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Tells whether a signature, as `sign` makes it, is that of the body. The comparison takes the same
 * time wherever they differ. Verify the bytes as they came, before anything has parsed them. What
 * is no signature at all, `null` and `undefined` included, is just not valid.
 *
 * @throws HooktrailError as `sign` does.
 */
export async function verify(body: Body, signature: string | null | undefined, secret: string): Promise<boolean> {
  const { subtle, key } = await keyOf(secret);
  const mac = macOf(signature);
  return mac !== undefined && subtle.verify("HMAC", key, mac, bytesOf(body));
}

function macOf(signature: string | null | undefined): Bytes | undefined {
  const hex = typeof signature === "string" && /^sha256=([0-9a-fA-F]{64})$/.exec(signature.trim())?.[1];
  return hex ? Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16)) : undefined;
}

/** Gives the bytes of a body. */
export function bytesOf(body: Body): Bytes {
  if (typeof body === "string") {
    return new TextEncoder().encode(body);
  }
  // Copies: what is signed is what is sent, even if the caller changes its bytes meanwhile.
  if (ArrayBuffer.isView(body)) {
    return new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice();
  }
  // Unlike instanceof this knows those of other windows and contexts as well.
  if (Object.prototype.toString.call(body) === "[object ArrayBuffer]") {
    return new Uint8Array(body).slice();
  }
  throw new HooktrailError("a body must be a string, a Uint8Array or an ArrayBuffer");
}

async function keyOf(secret: string) {
  if (typeof secret !== "string" || secret === "") {
    throw new HooktrailError("the secret must be a string that is not empty");
  }
  const subtle = await webCrypto();
  const raw = new TextEncoder().encode(secret);
  return { subtle, key: await subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign", "verify"]) };
}

async function webCrypto(): Promise<SubtleCrypto> {
  if (globalThis.crypto?.subtle) {
    return globalThis.crypto.subtle;
  }
  if (isNode()) {
    // Node.js 18 has WebCrypto, but not as a global. The name is not a literal, and the comments are
    // there, so that bundlers for browsers do not look for the module.
    const name = "node:crypto";
    const { webcrypto } = (await import(/* webpackIgnore: true */ /* @vite-ignore */ name)) as { webcrypto: Crypto };
    return webcrypto.subtle;
  }
  throw new HooktrailError("there is no WebCrypto here; browsers have it only on pages that came by HTTPS or from localhost");
}

function isNode(): boolean {
  const { process } = globalThis as { process?: { versions?: { node?: string } } };
  return process?.versions?.node !== undefined;
}
