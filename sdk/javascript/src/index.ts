export { Hooktrail, type ClientOptions, type Fire } from "./client.js";
export { sign, verify, type Body } from "./signature.js";
export {
  APIConnectionError,
  APIError,
  APITimeoutError,
  AuthenticationError,
  ConflictError,
  HooktrailError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitError,
  ServerError,
  ValidationError,
  WaitTimeoutError,
} from "./errors.js";
export type { Agents } from "./agents.js";
export type { APIKeys } from "./apikeys.js";
export type { Audit } from "./audit.js";
export type { Events } from "./events.js";
export type { Executions } from "./executions.js";
export type { Rejections } from "./rejections.js";
export type { Subscriptions } from "./subscriptions.js";
export type { WebhookTriggers } from "./triggers.js";
export type { Spelt } from "./fields.js";
export type { ChangeOptions, RequestOptions } from "./transport.js";
export type * from "./types.js";
