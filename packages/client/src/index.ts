export type { CollectionList, Document, Passage, Question } from '@remit/contract/retrieval'
export type {
  AccessChange,
  AccessChanged,
  AccessTuple,
  DocumentAccess,
  DocumentInput,
  FailedDocument,
  FailedDocumentList,
  JobEntry,
} from '@remit/contract/writes'
export { type DefinedTool, defineTool, type ToolDefinition, type Who } from './adapters/define-tool.ts'
export {
  type AiTool,
  aiTool,
  type FunctionCall,
  type LangChainDocument,
  type LangChainTool,
  langChainDocuments,
  langChainTool,
  type OpenAiTools,
  openAiTools,
  type ToolMessage,
} from './adapters/frameworks.ts'
export {
  askingRetrieveTool,
  type Cited,
  type RetrieveArgs,
  readDocumentTool,
  retrieveTool,
} from './adapters/remit-tools.ts'
export type { InputSchema } from './adapters/schema.ts'
export { RemitError, type SerializedError } from './errors/error.ts'
export {
  ActorUnauthorized,
  ApprovalDenied,
  ApprovalExpired,
  ApprovalPending,
  ApprovalRequired,
  ConnectionRequired,
  GrantedDiffers,
  InsufficientScope,
  NoPerson,
  NotFound,
  OutcomeUnknown,
  type PendingApproval,
  RateLimited,
  SignInRequired,
  Unavailable,
  WriteFailed,
  WrongPerson,
} from './errors/kinds.ts'
export { errorFromJSON, isRemitError } from './errors/make.ts'
export { McpSignIn, type McpSignInOptions, type McpTokens } from './mcp/sign-in.ts'
export type { Access, AccessInit } from './service/access.ts'
export type { CallOptions } from './service/api.ts'
export type { ApprovalQuestion, Approvals, WaitOptions } from './service/approvals.ts'
export type { RetrieveOptions, Session } from './service/session.ts'
export { createRemit, type Remit, type RemitOptions } from './service/session.ts'
export type { VaultFetch, VaultInit } from './service/vault.ts'
export type {
  Approval,
  ApprovalAsked,
  Job,
  JobList,
  JobSummary,
  RetrieveAnswer,
} from './shared/answers.ts'
export type { Detail } from './shared/detail.ts'
export { type PlatformOptions } from './shared/platform.ts'
export { createTokenCache, type TokenCache } from './tokens/cache.ts'
export { type Ciba, ciba } from './tokens/ciba.ts'
export { type ClientKey, clientKey } from './tokens/client-key.ts'
export { type DeviceFlow, type DeviceFlowOptions, deviceFlow } from './tokens/device.ts'
export { type ExchangeOptions, exchange } from './tokens/exchange.ts'
export { findIssuer } from './tokens/metadata.ts'
export { createProofKey, createProver, type ProofKey, type Prover } from './tokens/prover.ts'
export {
  AccessToken,
  type Person,
  type StaticTokenOptions,
  staticToken,
  type TokenRequest,
  type TokenSource,
} from './tokens/token.ts'
export { isWithin, type Within } from './tokens/within.ts'
export { type ContextStore, type Conversations, conversationsOn } from './tools/conversations.ts'
export { type AskingOptions, retrieveAsking } from './tools/retrieve-asking.ts'
export type { Tool, ToolCall, WrappedTool } from './tools/tool.ts'
export { type ApprovalOptions, withApproval } from './tools/with-approval.ts'
export {
  type ConnectionOptions,
  type ConnectionTool,
  type DeviceFlowToolOptions,
  type Vault,
  withConnection,
  withDeviceFlow,
} from './tools/with-connection.ts'
export {
  type ClientCredentialsOptions,
  clientCredentials,
  type ServiceTokenRequest,
  type ServiceTokens,
} from './writer/client-credentials.ts'
export {
  createWriter,
  type ImportLines,
  type ImportOptions,
  type JobDesk,
  type JobListOptions,
  type JobOptions,
  type ListOptions,
  type WriteOptions,
  type Writer,
  type WriterOptions,
} from './writer/writer.ts'
