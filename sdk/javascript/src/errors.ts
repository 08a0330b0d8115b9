/** What every error of this library is. No message holds a key, a token, a secret or a payload. */
export class HooktrailError extends Error {
  override name = "HooktrailError";
}

/** No answer came: the server cannot be reached, or the connection broke. `cause` says why. */
export class APIConnectionError extends HooktrailError {
  override name = "APIConnectionError";
}

/** No answer came within `timeout`. */
export class APITimeoutError extends APIConnectionError {
  override name = "APITimeoutError";
}

/** What the server said about a request that it did not carry out. */
export interface Refusal {
  status: number;
  code: string;
  message: string;
  details?: Readonly<Record<string, string>>;
  requestId?: string | undefined;
  retryAfter?: number | undefined;
}

/** The server answered, and not with success. */
export class APIError extends HooktrailError {
  override name = "APIError";
  /** The HTTP status. */
  readonly status: number;
  /** The machine-readable reason, such as `validation_failed`. */
  readonly code: string;
  /** What is wrong, by field; empty when no field is to blame. */
  readonly details: Readonly<Record<string, string>>;
  /** Finds the request in the server's log and in the events that it caused. */
  readonly requestId: string | undefined;

  constructor(refusal: Refusal) {
    super(describe(refusal));
    this.status = refusal.status;
    this.code = refusal.code;
    this.details = refusal.details ?? {};
    this.requestId = refusal.requestId;
  }
}

/** The request or the payload is wrong (400, 413, 415, 422); `details` names the fields. */
export class ValidationError extends APIError {
  override name = "ValidationError";
}

/** There is no valid API key; for webhook calls no valid token or signature (401). */
export class AuthenticationError extends APIError {
  override name = "AuthenticationError";
}

/** The API key lacks a scope; for webhook calls the trigger is inactive or the address not allowed (403). */
export class PermissionDeniedError extends APIError {
  override name = "PermissionDeniedError";
}

/** There is no such thing in the key's workspace (404). */
export class NotFoundError extends APIError {
  override name = "NotFoundError";
}

/** The state of things forbids it (`conflict`), or the version is not that of `ifMatch` (`precondition_failed`). */
export class ConflictError extends APIError {
  override name = "ConflictError";
}

/** Too many calls (429). */
export class RateLimitError extends APIError {
  override name = "RateLimitError";
  /** Seconds after which to try again, if the server said so. */
  readonly retryAfter: number | undefined;

  constructor(refusal: Refusal) {
    super(refusal);
    this.retryAfter = refusal.retryAfter;
  }
}

/** The server failed or has too much to do (5xx), or the answer is not one of Hooktrail (`invalid_response`). */
export class ServerError extends APIError {
  override name = "ServerError";
  /** Seconds after which to try again, if the server said so. */
  readonly retryAfter: number | undefined;

  constructor(refusal: Refusal) {
    super(refusal);
    this.retryAfter = refusal.retryAfter;
  }
}

/** An execution did not end in the time that `executions.wait` was given. It goes on. */
export class WaitTimeoutError extends HooktrailError {
  override name = "WaitTimeoutError";
  readonly executionId: string;
  /** The status that it had last. */
  readonly status: string;

  constructor(executionId: string, status: string, seconds: number) {
    super(`execution ${executionId} is still ${status} after ${seconds} s`);
    this.executionId = executionId;
    this.status = status;
  }
}

function describe(refusal: Refusal): string {
  const { status, code, message, details = {}, requestId } = refusal;
  const fields = Object.entries(details);
  // Of one field the message tells already.
  const listed = fields.length > 1 ? `: ${fields.map(([field, why]) => `${field} ${why}`).join("; ")}` : "";
  return `${message}${listed} (${status} ${code}${requestId ? `, request ${requestId}` : ""})`;
}

const byCode = new Map<string, new (refusal: Refusal) => APIError>([
  ["conflict", ConflictError],
  ["precondition_failed", ConflictError],
  ["invalid_response", ServerError],
]);

const byStatus = new Map<number, new (refusal: Refusal) => APIError>([
  [400, ValidationError],
  [401, AuthenticationError],
  [403, PermissionDeniedError],
  [404, NotFoundError],
  [413, ValidationError],
  [415, ValidationError],
  [422, ValidationError],
  [429, RateLimitError],
]);

/** Gives the error of the class that fits a refusal. */
export function errorFor(refusal: Refusal): APIError {
  const kind = byCode.get(refusal.code) ?? byStatus.get(refusal.status) ?? (refusal.status >= 500 ? ServerError : APIError);
  return new kind(refusal);
}
