// Types alone, so that whoever reads them needs no zod. `approval-schemas.ts` has the schemas; a type test
// holds both together.

/** One of a token's, or a request's, `authorization_details` (RFC 9396). */
export interface AuthorizationDetail {
  readonly type: string
  readonly [member: string]: unknown
}

/** What may be asked for: more documents, by what an answer offered, or one call to an API of others. */
export type ApprovalDetail =
  | { readonly type: 'document_access'; readonly offer: string }
  | {
      readonly type: 'vault_call'
      readonly connection: string
      readonly method: string
      readonly path: string
      readonly content_type?: string
      /** sha256 of the body, base64url. */
      readonly body_digest?: string
      /** The body itself, where it is text: shown to the person. */
      readonly body?: string
    }

/** What `POST /approvals` takes. */
export interface ApprovalInput {
  /** Exactly one. */
  readonly authorization_details: readonly ApprovalDetail[]
  /** The API's address, where given. */
  readonly resource?: string
  /** In the agent's own words; the person sees them as such. */
  readonly purpose: string
  /** Seconds that the person has. Default 300. */
  readonly requested_expiry?: number
}

/** What `POST /approvals` answers. */
export interface ApprovalAsked {
  readonly id: string
  readonly state: 'pending' | 'info_requested' | 'denied'
  readonly expires_at: string
  /** Seconds between two looks. */
  readonly interval: number
}

/** How a question to the person stands, as `GET /approvals/{id}` tells the agent. */
export interface Approval {
  readonly id: string
  readonly state: 'pending' | 'info_requested' | 'approved' | 'denied' | 'expired'
  /** The person's, that is open. Text of theirs, not of the service. */
  readonly question?: string
  /** To be named as `approval` where it is used. */
  readonly grant_id?: string
  readonly authorization_details?: readonly AuthorizationDetail[]
  readonly reason?: string
  readonly expires_at: string
}
