/** OpenFGA's yes: past its caches, perhaps from them, or its own of so many milliseconds before. */
export type Proven =
  | { readonly proof: 'asked' | 'asked_fast' }
  | { readonly proof: 'held'; readonly age_ms: number }

/** Presented grants of approvals that cover it; left out where there is none. */
export interface ByGrants {
  readonly grants?: readonly string[]
}

/**
 * The stored tuples that it rested on when it was decided, as the replica had them; left out where it could
 * not tell.
 */
export interface ByTuples {
  readonly why?: readonly string[]
}

/**
 * Of the tuples that are written: `user:carol contractor collection:npm until 2027-01-01T00:00:00Z`; left out
 * where none ends.
 */
export interface WithEnds {
  readonly ends?: readonly string[]
}

/** One document that left, by which of its passages, and why. */
export type Released = Proven &
  ByGrants &
  ByTuples & { readonly document_id: string; readonly chunk_ids: readonly string[] }

/** What a record says beside who asked; one closed union, so that readers can rely on it. */
export type DecisionEvent =
  | {
      readonly event: 'retrieved'
      /** HMAC of the canonical query. */
      readonly query_hmac: string
      /** Its words, only where AUDIT_QUERY_TEXT says so. */
      readonly query?: string
      /** Whom the words name as `user:…` is erased in them; without it, only with whoever asked. */
      readonly erasable?: true
      readonly model_id: string
      readonly consistency: 'fast' | 'strict'
      readonly mode: string
      readonly openfga_request_ids: readonly string[]
      readonly released: readonly Released[]
      /**
       * Distinct documents: all, then those that OpenFGA denied, that the replica denied, that nobody
       * answered.
       */
      readonly considered: number
      readonly denied: number
      readonly passed_over: number
      readonly errors: number
      readonly complete: boolean
      /** `o_…`, where the person could be asked for more. */
      readonly offer?: string
    }
  | {
      readonly event: 'document_read'
      readonly document_id: string
      /** null: nothing was released. */
      readonly released: (Proven & ByGrants & ByTuples) | null
      /** The agent was told that its person could be asked. */
      readonly approval_required?: true
      readonly model_id: string
      readonly openfga_request_ids: readonly string[]
    }
  | {
      readonly event: 'collections_listed'
      readonly collections: readonly string[]
      readonly model_id: string
      readonly considered: number
      readonly denied: number
      readonly passed_over: number
      readonly errors: number
    }
  | {
      readonly event: 'explained'
      readonly question: Readonly<Record<string, string | readonly string[]>>
      readonly decision: 'allowed' | 'denied' | 'error'
      /** null: the replica had nothing to say. */
      readonly agrees: boolean | null
      readonly model_id: string
      readonly openfga_request_ids: readonly string[]
    }
  | {
      readonly event: 'who_can_listed'
      readonly object: string
      readonly relation: string
      /** Not its first page. */
      readonly continued: boolean
      readonly listed: number
      readonly complete: boolean
      readonly model_id: string
      readonly openfga_request_ids: readonly string[]
    }
  | {
      /** Somebody looked at the record. */
      readonly event: 'record_read'
      /** What was asked for: a question by name, or filters. */
      readonly question: string
      readonly filter: Readonly<Record<string, string>>
      /** All of it at once, from there on; else one page. */
      readonly exported: boolean
    }
  | {
      /** A request whose token was good, and which was refused all the same. */
      readonly event: 'request_refused'
      readonly code: string
      readonly method: string
      /** The route's pattern; what stood in its place is not kept. */
      readonly route: string
    }
  | {
      /** An administrator looked at jobs of services, or at documents that failed. */
      readonly event: 'jobs_read'
      readonly question: 'jobs' | 'job' | 'failed_documents'
      readonly filter: Readonly<Record<string, string>>
    }
  /** A person's key of the record was destroyed; whose is not told, nor can be. */
  | { readonly event: 'person_erased'; readonly alias: string }
  | {
      /** By retention: the oldest seal's records; its head is kept. */
      readonly event: 'records_dropped'
      readonly to_seal: number
      readonly records: number
      readonly before: string
    }
  | (WithEnds & {
      /** Who would gain and lose by a change that nobody made. */
      readonly event: 'what_if_asked'
      readonly writes: readonly string[]
      readonly deletes: readonly string[]
      /** sha256 of a changed model's text. */
      readonly model_digest: string | null
      /** null: all. */
      readonly people: readonly string[] | null
      readonly documents: readonly string[] | null
      readonly gained: Readonly<Record<'can_read' | 'can_read_delegated', number>>
      readonly lost: Readonly<Record<'can_read' | 'can_read_delegated', number>>
      readonly complete: boolean
      readonly model_id: string
    })
  | {
      /** What a person would be given, or an agent for them. */
      readonly event: 'viewed_as'
      readonly user: string
      readonly agent?: string
      readonly delegation?: string
      readonly collection?: string
      /** Not its first page. */
      readonly continued: boolean
      readonly listed: number
      readonly complete: boolean
      readonly model_id: string
      readonly openfga_request_ids: readonly string[]
    }
  | {
      /** In which groups a person is, or whom a group holds. */
      readonly event: 'memberships_listed'
      readonly user?: string
      readonly object?: string
      /** Not its first page. */
      readonly continued: boolean
      readonly listed: number
      readonly complete: boolean
      readonly model_id: string
      readonly openfga_request_ids: readonly string[]
    }
  | (WithEnds & {
      readonly event: 'access_changed'
      readonly writes: readonly string[]
      readonly deletes: readonly string[]
    })
  | {
      readonly event: 'document_accepted' | 'document_published' | 'document_withdrawn' | 'document_retried'
      readonly document_id: string
      readonly revision: number
    }
  | {
      readonly event: 'agent_saved'
      readonly agent: string
      /** null: no limit. */
      readonly scopes: readonly string[] | null
      readonly collections: readonly string[] | null
      /** How many keys it has from now on. */
      readonly keys: number
    }
  | { readonly event: 'agent_disabled' | 'agent_enabled'; readonly agent: string }
  | { readonly event: 'person_disabled' | 'person_enabled'; readonly user: string }
  | {
      readonly event: 'client_saved' | 'client_removed'
      readonly client: string
      /** The agent that it is. */
      readonly agent?: string
    }
  /** With the agents that came from it. */
  | { readonly event: 'host_disabled'; readonly host: string; readonly agents: readonly string[] }
  | { readonly event: 'host_enabled'; readonly host: string }
  | {
      /** What a directory said of a person, by SCIM. */
      readonly event: 'directory_user_changed'
      readonly user: string
      /** `end_refused`: nobody else would administer; nothing of it happened. */
      readonly change: 'created' | 'replaced' | 'patched' | 'deleted' | 'end_refused'
      readonly active: boolean
    }
  | {
      /** And of a group; who came and went stands in `access_changed`. */
      readonly event: 'directory_group_changed'
      readonly object: string
      readonly change: 'created' | 'replaced' | 'patched' | 'deleted'
    }
  | { readonly event: 'collection_saved'; readonly collection: string }
  | { readonly event: 'fields_saved'; readonly fields: Readonly<Record<string, string>> }
  | {
      /** Somebody else has to confirm it before it does anything. */
      readonly event: 'source_proposed'
      readonly source: string
      readonly kind: string
      readonly origin: string
      readonly collections: readonly string[]
    }
  | {
      /** Other settings of a source that is there. Its yes is `source_confirmed`, too. */
      readonly event: 'source_change_proposed'
      readonly source: string
      readonly origin: string
    }
  | {
      /** `purged`: everything that was missing from it then may be deleted for good. */
      readonly event:
        | 'source_confirmed'
        | 'source_woken'
        | 'source_paused'
        | 'source_resumed'
        | 'source_removed'
        | 'source_purged'
        | 'source_hook_made'
        | 'source_hook_ended'
        | 'source_people_read'
      readonly source: string
    }
  | {
      /** Somebody else has to confirm it before it does anything. */
      readonly event: 'source_people_proposed'
      readonly source: string
      readonly people: readonly { readonly account: string; readonly subject: string }[]
      /** Left out in older records: there the accounts stay when the person is erased. */
      readonly erasable: true
    }
  | {
      /** Accounts of a source that became somebody, or are nobody from now on. */
      readonly event: 'source_people_changed'
      readonly source: string
      readonly people: readonly {
        /** `sha256:…` of source and account, where it never was anybody: it may be a person's address. */
        readonly account: string
        readonly state: 'linked' | 'suspended' | 'unknown'
        /** Who it is, or was. */
        readonly subject?: string
      }[]
      readonly erasable: true
    }
  | {
      readonly event: 'delegation_made' | 'delegation_revoked'
      readonly delegation: string
      /** Whose reading is lent; whoever did it stands beside. */
      readonly lender: string
      readonly agent: string
      readonly sub_agents: readonly string[]
      readonly scope: readonly string[]
      readonly standing: boolean
      readonly expires_at: string
    }
  | {
      /** A person's yes to an agent, from here on. */
      readonly event: 'grant_made'
      readonly grant: string
      readonly approval: string
      readonly grantor: string
      readonly agent: string
      /** Documents; folders or collections of a remembered one. */
      readonly objects: readonly string[]
      /** null: it is for documents. */
      readonly vault_call: RecordedCall | null
      /** For one question only. */
      readonly one_question: boolean
      /** null: no limit. */
      readonly max_uses: number | null
      readonly remembered: boolean
      readonly expires_at: string
    }
  | {
      readonly event: 'grant_ended'
      readonly grant: string
      readonly approval: string
      readonly grantor: string
      readonly agent: string
      /**
       * Its time being over is in `grant_made`. `forgotten`: an older copy of the database may not know of
       * its end.
       */
      readonly reason: 'revoked' | 'delegation_ended' | 'used_up' | 'forgotten'
    }
  | {
      /**
       * An agent asked its person. `blocked`: it was denied unseen, since they had blocked the agent, or said
       * no to the same lately.
       */
      readonly event: 'approval_asked'
      readonly approval: string
      readonly front: 'rest' | 'ciba'
      readonly kind: 'documents' | 'vault_call' | 'access'
      readonly documents?: readonly string[]
      /** Of the token that a yes gives; left out where it gives none. */
      readonly scopes?: readonly string[]
      readonly expires_at: string
      readonly blocked: boolean
    }
  /** The person's question, and the agent's answer. Their words are not kept here. */
  | {
      readonly event: 'approval_info_requested' | 'approval_answered'
      readonly approval: string
      readonly round: number
    }
  | {
      readonly event: 'approval_decided'
      readonly approval: string
      readonly decision: 'approved' | 'denied'
      /** Which says what a yes opens. */
      readonly grant?: string
    }
  | { readonly event: 'approval_expired'; readonly approval: string }
  | { readonly event: 'agent_blocked' | 'agent_unblocked'; readonly agent: string }
  | {
      /** A person let a client have tokens for them. */
      readonly event: 'consented'
      readonly client: string
      readonly grant: string
      readonly resource: string
      readonly scope: string
      readonly expires_at: string
    }
  | { readonly event: 'consent_refused'; readonly client: string }
  /** The person signed one program out; what was lent by the same consent has a record of its own. */
  | { readonly event: 'consent_ended'; readonly client: string; readonly grant: string }
  /** By RFC 8176, at which door. */
  | {
      readonly event: 'signed_in'
      readonly at: 'authorization_server' | 'pages'
      readonly amr: readonly string[]
      /** The trusted issuer through which they came. */
      readonly through?: string
    }
  /** Its subject is the account that was tried, where there is one; what was typed is never kept. */
  | { readonly event: 'sign_in_failed'; readonly method: string }
  | { readonly event: 'signed_out' }
  /** In front of a session of their own, for something sensitive. */
  | { readonly event: 'user_verified'; readonly amr: readonly string[] }
  /** Credential id, which its owner's page shows nowhere and no token holds. */
  | { readonly event: 'passkey_added' | 'passkey_removed'; readonly passkey: string }
  | {
      readonly event: 'model_planned' | 'model_approved' | 'model_activated'
      /** Left out where a start put the types of the service's own marks beside the model. */
      readonly plan?: string
      /** sha256 of the model's text. */
      readonly digest: string
      readonly base_model: string
      /** OpenFGA's id of what is in force from now on. */
      readonly model_id?: string
      /** What the truth table said of it. */
      readonly tests_passed?: number
      readonly tests_failed?: number
      /** Why it did not run. */
      readonly tests_error?: string
      /** Why it was confirmed although tests failed. */
      readonly reason?: string
    }
  | {
      /**
       * Only in older records: a planned model was evaluated beside the one in force. No route writes these
       * now.
       */
      readonly event: 'model_shadow_started' | 'model_shadow_ended' | 'model_shadow_read'
      readonly shadow: string
      readonly plan: string
      readonly base_model: string
      readonly share?: number
      readonly ends_at?: string
      readonly because?: 'over' | 'stopped' | 'model_changed'
    }
  | {
      readonly event: 'token_exchanged'
      readonly resource: string
      readonly scope: string
      readonly jti: string
      /** `iss` and `jti` of the token that it was made from. */
      readonly from_issuer: string
      readonly from_jti: string
    }
  | {
      readonly event: 'account_linked' | 'account_unlinked'
      readonly issuer: string
      readonly sub: string
      /** Key of the local account. */
      readonly person: string
    }
  | {
      /** Before it runs. */
      readonly event: 'command'
      readonly command: string
      readonly arguments: Readonly<Record<string, unknown>>
    }
  /** Begun with the same `txn`; by which error it ended. */
  | { readonly event: 'command_failed'; readonly command: string; readonly code: string }
  | {
      /**
       * Counts, of what ended or was mended because an older copy of the database or of OpenFGA had forgotten
       * the rest.
       */
      readonly event: 'recovered'
      readonly older: 'database' | 'openfga' | 'not_known'
      readonly access_mended: number
      readonly whole_at: string
      readonly delegations_ended: number
      readonly grants_ended: number
      readonly accounts_to_reconnect: number
      readonly tuples_removed: number
      readonly sessions_ended: number
      readonly artifacts_ended: number
      /** After `remit restore`: when the backup was taken. */
      readonly restored_from?: string
      /** What became of the access that it gave. */
      readonly access?: 'end' | 'keep'
      readonly agents_disabled?: number
      /** Records that heads kept elsewhere tell of, and that are not here any more. */
      readonly records_missing?: number
    }
  | VaultCallEvent
  | {
      /**
       * Of the vault: linked, linked once more, refreshed, refused by its provider, taken back. Never a
       * token.
       */
      readonly event:
        | 'connection_made'
        | 'connection_renewed'
        | 'connection_refreshed'
        | 'connection_broken'
        | 'connection_ended'
      readonly connection: string
      readonly provider: string
      /** Its id there. */
      readonly account: string
      /** Whose it is, where that is not the subject. */
      readonly user?: string
    }
  | {
      readonly event: 'connection_used'
      readonly connection: string
      readonly provider: string
      readonly account: string
      /** Not the connection's own token, but a narrower one that was made from it (RFC 8693). */
      readonly exchanged: boolean
    }
  | {
      /** What an agent may do there, through which client; no rules: it is over. */
      readonly event: 'connection_agreed' | 'connection_agent_removed'
      readonly connection: string
      readonly provider: string
      readonly agent: string
      readonly through: string
      readonly rules: readonly {
        readonly methods: readonly string[]
        readonly paths: readonly string[]
      }[]
    }
  | {
      readonly event: 'data_keys_rewrapped'
      /** Version of the key by which they are wrapped now. */
      readonly to: string
      readonly rewrapped: number
    }
  | (WithEnds & {
      readonly event: 'drift_mended'
      readonly object: string
      readonly added: readonly string[]
      readonly removed: readonly string[]
    })

/** One call to a third party. */
interface RecordedCall {
  readonly connection: string
  readonly method: string
  /** Without its query. */
  readonly path: string
  /** sha256 of the canonical call, its query and the digest of its body included. */
  readonly call_digest: string
}

/** That it was made, or is about to be. */
interface VaultCallFacts extends RecordedCall {
  readonly provider: string
  /** The approval that it was made with. null: the person had agreed to such calls. */
  readonly grant: string | null
  readonly request_bytes: number
}

type VaultCallEvent =
  /** About to be sent: may have happened from now on, whatever is on record after it. */
  | (VaultCallFacts & { readonly event: 'vault_call_begun' })
  | (VaultCallFacts & {
      readonly event: 'vault_called'
      /** unknown: it was sent, may have changed something, and no whole answer came. */
      readonly outcome: 'answered' | 'no_answer' | 'unknown'
      readonly status: number | null
      readonly answer_bytes: number
    })
