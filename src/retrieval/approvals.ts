import type { ByGrants } from '@remit/contract/decision-event'
import type { Clearing } from '../authz/gate.ts'
import { documentObject } from '../kernel/ids.ts'
import type { Log } from '../kernel/log.ts'
import { outermostActor, type Principal } from '../kernel/principal.ts'
import type { Database, Sql } from '../store/sql.ts'

/**
 * What a person agreed to beside what they lent, and what they could still be asked: see
 * src/delegation/approvals.
 */
export interface Approvals {
  /**
   * Those of the named grants that count for this principal and this question, and every remembered one. None
   * without an agent.
   */
  presentable(principal: Principal, asking: Asking): Promise<readonly Presented[]>
  /** Counts one use in the transaction of the record. False: it does not count any more. */
  useWithin(
    sql: Sql,
    use: { readonly id: string; readonly principal: Principal; readonly queryHmac?: string },
  ): Promise<boolean>
  /** To be called with what was used once that transaction is committed. */
  settle(grants: readonly string[]): Promise<void>
  /** Whether an offer may be made to this principal now. */
  mayOffer(principal: Principal): Promise<boolean>
  /** In the transaction of the record. Undefined: no more may be made. */
  makeOfferWithin(
    sql: Sql,
    principal: Principal,
    offer: { readonly queryHmac: string; readonly documentIds: readonly string[] },
  ): Promise<string | undefined>
}

/** What a request names, and the keyed digest of its question. */
export interface Asking {
  readonly named: readonly string[]
  readonly queryHmac?: string
}

/** A grant that counts for this request. */
export interface Presented {
  readonly id: string
  /** Documents; folders or collections of a remembered one. */
  readonly objects: readonly string[]
  readonly remembered: boolean
}

/** What is about to leave by grants. */
export interface Uses {
  /** Document → the grants that cover it. */
  readonly byDocument: ReadonlyMap<string, readonly string[]>
  readonly grants: readonly string[]
}

/** The grants, the database that their uses are counted in, and a log. */
export interface PresentingDeps {
  readonly database: Database
  readonly approvals: Approvals
  readonly log: Log
}

/** Presents the grants of one request, and accounts for them. */
export interface Presenting {
  /**
   * Gives what `make` makes with all that may be presented. Where that rests on a use that does not count
   * (any more), `make` gives undefined and the answer is made anew: as if nothing had been named, then as if
   * nothing were there at all.
   */
  answer<T>(
    principal: Principal,
    asking: Asking,
    make: (presentedGrants: readonly Presented[]) => Promise<T | undefined>,
  ): Promise<T>
  /**
   * Which of the grants presented cover what is about to leave. Undefined: one covers what its row does not
   * know, or what needs one has none any more.
   */
  usesOf(
    clearing: Pick<Clearing, 'grantsOf'>,
    presented: readonly Presented[],
    documentIds: readonly string[],
  ): Promise<Uses | undefined>
  /**
   * Runs `write`, which has to record all of it, in one transaction with the uses; outside of one where there
   * are none and `write` is one statement. False: a use does not count any more, and nothing was written.
   */
  commit(by: UsesBy, write: (sql: Sql) => Promise<void>): Promise<boolean>
}

/** Uses of grants by a principal, to be counted with a release. */
export interface UsesBy {
  readonly uses: Uses
  readonly principal: Principal
  readonly queryHmac?: string
  /** `write` is one statement. */
  readonly isSingle: boolean
}

/** Finds the grants of a request and counts their uses in the transaction that releases. */
export function createPresenting({ database, approvals, log }: PresentingDeps): Presenting {
  return {
    async answer(principal, asking, make) {
      const presentedFirst = await approvals.presentable(principal, asking)
      const firstAnswer = await make(presentedFirst)
      if (firstAnswer !== undefined) return firstAnswer
      const second = await approvals.presentable(principal, { named: [] })
      const secondAnswer = second.length === 0 ? undefined : await make(second)
      if (secondAnswer !== undefined) return secondAnswer
      const lastAnswer = await make([])
      if (lastAnswer === undefined) throw new Error('An answer without grants rested on one.')
      return lastAnswer
    },
    async usesOf(clearing, presentedGrants, documentIds) {
      const byDocument = await clearing.grantsOf(documentIds)
      if (byDocument === undefined) return undefined
      const stray = presentedGrants.find(
        ({ id, remembered, objects }) =>
          !remembered &&
          [...byDocument].some(
            ([documentId, grants]) => grants.includes(id) && !objects.includes(documentObject(documentId)),
          ),
      )
      if (stray !== undefined) {
        log('grant_covers_more', { grant: stray.id })
        return undefined
      }
      // In one order, so that no two transactions wait for each other.
      return { byDocument, grants: [...new Set([...byDocument.values()].flat())].sort() }
    },
    async commit({ uses, isSingle, ...by }, write) {
      if (isSingle && uses.grants.length === 0) {
        await write(database)
        return true
      }
      try {
        await database.transaction(async (sql) => {
          for (const id of uses.grants) {
            if (!(await approvals.useWithin(sql, { id, ...by }))) throw new UseGone()
          }
          await write(sql)
        })
      } catch (error) {
        if (error instanceof UseGone) return false
        throw error
      }
      if (uses.grants.length > 0) await approvals.settle(uses.grants)
      return true
    },
  }
}

/** Rolls a transaction back. */
class UseGone extends Error {}

/** As the gate is shown them. */
export const shownGrants = (presentedGrants: readonly Presented[]) =>
  presentedGrants.map(({ id, remembered, objects }) => ({
    id,
    documentIds: remembered ? [] : objects.map((object) => object.slice('document:'.length)),
  }))

/** Those that a request names itself: by its own member, and by its token. */
export const namedBy = ({ grant }: Principal, approval: string | undefined): readonly string[] =>
  [approval, grant].filter((id) => id !== undefined)

/** In the words of the record. */
export const byGrants = ({ byDocument }: Uses, documentId: string): ByGrants => {
  const grants = byDocument.get(documentId)
  return grants === undefined ? {} : { grants }
}

/** An agent that may not ask for approval is not told that there is something to ask for. */
export const mayAsk = (principal: Principal): boolean =>
  outermostActor(principal) !== undefined && principal.scopes.has('approvals.request')
