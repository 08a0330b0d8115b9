import { errorFor } from "./errors.js";
import type { HooktrailEvent } from "./types.js";

/** A position, with its event, or without where the log was read up to there. */
export interface Message {
  position: number;
  event?: HooktrailEvent;
}

/** Reads the messages of one stream of Server-Sent Events (WHATWG HTML, section 9.2), which may be cut anywhere. */
export class Reader {
  readonly #decoder = new TextDecoder();
  #parts: string[] = [];
  #afterReturn = false;
  #position: number | undefined;
  #data: string[] = [];

  /** Gives what a piece completes. What the end of the stream cuts off counts for nothing. */
  feed(piece: Uint8Array): Message[] {
    let text = this.#decoder.decode(piece, { stream: true });
    if (text === "") {
      return [];
    }
    const skip = this.#afterReturn && text.startsWith("\n");
    this.#afterReturn = text.endsWith("\r");
    text = skip ? text.slice(1) : text;
    if (!/[\r\n]/.test(text)) {
      this.#parts.push(text);
      return [];
    }
    const lines = (this.#parts.join("") + text).split(/\r\n|\r|\n/);
    this.#parts = [lines.pop()!];
    return lines.flatMap((line) => this.#take(line) ?? []);
  }

  #take(line: string): Message | undefined {
    if (line === "") {
      const [position, data] = [this.#position, this.#data];
      [this.#position, this.#data] = [undefined, []];
      if (position === undefined) {
        return undefined;
      }
      return data.length === 0 ? { position } : { position, event: eventOf(data.join("\n")) };
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "id") {
      this.#position = /^\d+$/.test(value) ? Number(value) : foreign();
    } else if (name === "data") {
      this.#data.push(value);
    }
    return undefined;
  }
}

function eventOf(text: string): HooktrailEvent {
  try {
    return JSON.parse(text) as HooktrailEvent;
  } catch {
    return foreign();
  }
}

function foreign(): never {
  const message = "the stream of events is not one of Hooktrail: check that baseUrl is a Hooktrail server's, and any proxy before it";
  throw errorFor({ status: 200, code: "invalid_response", message });
}
