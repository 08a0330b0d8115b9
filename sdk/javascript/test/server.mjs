import { once } from "node:events";
import { createServer } from "node:http";

/**
 * Starts a server that answers the requests with answers in turn, the last one for ever, and ends with
 * the test. An answer is a function of the request, or {status, headers, body}; "break" breaks the connection,
 * "hang" never answers, and as half they do so behind the beginning of the body. The requests that came
 * are in requests.
 */
export async function serve(t, ...answers) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) {
      chunks.push(chunk);
    }
    const { method, url, headers } = request;
    const came = { method, url, headers, body: Buffer.concat(chunks), at: performance.now() };
    requests.push(came);
    let answer = answers[Math.min(requests.length, answers.length) - 1];
    if (typeof answer === "function") {
      answer = await answer(came);
    }
    if (answer === "hang") {
      return;
    }
    if (answer === "break") {
      request.socket.destroy();
      return;
    }
    const { status = 200, headers: more = {}, body = { data: {} }, half } = answer;
    response.writeHead(status, { "Content-Type": "application/json", "X-Request-Id": "request-1", ...more });
    const text = status === 204 ? "" : typeof body === "string" ? body : JSON.stringify(body);
    if (half) {
      response.write(text.slice(0, 3), () => half === "break" && request.socket.destroy());
      return;
    }
    response.end(text);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections?.();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, requests };
}

/** Gives a URL at which no server listens any more. */
export async function nowhere() {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return `http://127.0.0.1:${port}`;
}

/** The answer to a request that the server did not carry out, in either of its two forms. */
export function refusal(status, code, message = "no", more = {}) {
  const body = status >= 500 ? { error: message, code, request_id: "request-2" } : { error: { code, message, ...more.error }, request_id: "request-2" };
  return { status, headers: more.headers, body };
}
