import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { HooktrailError, sign, verify } from "@hooktrail/sdk";

const vectors = JSON.parse(await readFile(new URL("../../vectors/signatures.json", import.meta.url), "utf8"));
const bodyOf = (vector) => ("body" in vector ? vector.body : Buffer.from(vector.body_base64, "base64"));

async function checkVectors() {
  for (const vector of vectors.signed) {
    assert.equal(await sign(bodyOf(vector), vector.secret), vector.signature, vector.name);
    assert.equal(await verify(bodyOf(vector), vector.signature, vector.secret), true, vector.name);
  }
  for (const vector of vectors.accepted) {
    assert.equal(await verify(bodyOf(vector), vector.signature, vector.secret), true, vector.name);
  }
  for (const vector of vectors.refused) {
    assert.equal(await verify(bodyOf(vector), vector.signature, vector.secret), false, vector.name);
  }
}

describe("signatures", () => {
  test("are those of the shared vectors", checkVectors);

  test("need no global WebCrypto in Node.js, which version 18 lacks", async () => {
    const before = Object.getOwnPropertyDescriptor(globalThis, "crypto");
    Object.defineProperty(globalThis, "crypto", { value: undefined, configurable: true });
    try {
      await checkVectors();
    } finally {
      delete globalThis.crypto;
      if (before) {
        Object.defineProperty(globalThis, "crypto", before);
      }
    }
  });

  test("are of bytes, however they are given", async () => {
    const bytes = new TextEncoder().encode("x{}y");
    const expected = await sign("{}", "correct-horse-battery-staple");
    for (const body of [bytes.subarray(1, 3), bytes.slice(1, 3).buffer, new DataView(bytes.buffer, 1, 2)]) {
      assert.equal(await sign(body, "correct-horse-battery-staple"), expected);
    }
  });

  test("that are missing are not valid", async () => {
    for (const signature of [undefined, null, 1]) {
      assert.equal(await verify("{}", signature, "correct-horse-battery-staple"), false);
    }
  });

  test("need a secret and a body", async () => {
    for (const call of [() => sign("{}", ""), () => verify("{}", "", ""), () => sign("{}", undefined), () => sign({}, "secret"), () => sign(undefined, "secret")]) {
      await assert.rejects(call, HooktrailError);
    }
  });
});
