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
  type PendingApproval,
  RateLimited,
  SignInRequired,
  Unavailable,
  WrongPerson,
} from './errors/kinds.ts'
export { errorFromJSON, isRemitError } from './errors/make.ts'
export type { CollectionList, Document, Passage, Question, RetrieveAnswer } from './service/contract.ts'
export { createRemit, type Remit, type RemitOptions } from './service/remit.ts'
export type { CallOptions, Session } from './service/session.ts'
export type { Detail } from './shared/detail.ts'
export { createTokenCache, type TokenCache } from './tokens/cache.ts'
export { type ExchangeOptions, exchange } from './tokens/exchange.ts'
export { createProofKey, type ProofKey } from './tokens/prover.ts'
export { type StaticTokenOptions, staticToken } from './tokens/static.ts'
export { type AccessToken, type Person, type TokenRequest, type TokenSource } from './tokens/token.ts'
