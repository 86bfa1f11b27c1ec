import { type RecordActor, record } from '../../audit/record.ts'
import type { Fga } from '../../authz/fga.ts'
import type { Clock } from '../../kernel/clock.ts'
import { eachOf } from '../../kernel/each-of.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Log } from '../../kernel/log.ts'
import type { Principal } from '../../kernel/principal.ts'
import { reasonOf } from '../../kernel/reason.ts'
import { type Database, readRows, type Sql, type SqlValue } from '../../store/sql.ts'
import {
  type ApprovalGrant,
  type GrantHolder,
  grantColumns,
  grantTuples,
  recordEnd,
  settleGrants,
  strayTuples,
} from '../lending/approval-grant.ts'
import { recordedCall, type VaultCall, vaultCallText } from '../vault/call.ts'
import { holderOf } from './approval.ts'
import { checkedGrant, type GrantDraft } from './terms.ts'

/** What an approval's yes becomes. See docs/flows/approvals.md. */
export interface ApprovalGrants {
  /**
   * Row, then tuples; opens nothing until {@link activateWithin}. Its end is never after its delegation's.
   * 409 where that delegation is not live for exactly this person and agent, or 20 are remembered already;
   * 422 for objects that do not fit. NOT checked: that somebody agreed.
   */
  prepare(draft: GrantDraft): Promise<ApprovalGrant>
  /**
   * From the commit of this transaction on it counts, and is on record. False: its delegation or its time
   * ended meanwhile. Locks the delegation's row (shared), then the grant's: whoever holds other rows takes
   * them after.
   */
  activateWithin(sql: Sql, id: string, recordedAs: RecordActor): Promise<boolean>
  /**
   * What may be presented with a question: those named, by the request or by its token, whose rows match the
   * subject, the outermost agent, the delegation and, where one is for one question, that question's digest;
   * and every live remembered one. Anything else is as if nothing had been named. Empty without an agent.
   */
  presentable(principal: Principal, asking: GrantPresentation): Promise<readonly PresentableGrant[]>
  /**
   * Counts one use, in the transaction of the record that names it. False: it does not count (any more), and
   * the caller has to roll back and answer as if it had not been presented. One conditional UPDATE, so that
   * as many pass as uses are left, whoever asks at once. Where it was the last use the row ends with it; then
   * {@link settle} it.
   */
  useWithin(sql: Sql, use: GrantUse): Promise<boolean>
  /**
   * Removes the tuples of those that have ended. A failure is logged, and left to {@link mend}: the row has
   * decided.
   */
  settle(ids: readonly string[]): Promise<void>
  get(id: string): Promise<ApprovalGrant | undefined>
  /**
   * From its commit on it is presented no more; then its tuples go. False: no such live grant of this person.
   */
  revoke(subject: FgaObject, id: string, recordedAs: RecordActor): Promise<boolean>
  /** This person's that count now, newest first. */
  listOf(subject: FgaObject): Promise<ApprovalGrant[]>
  /**
   * Ends those whose time is over or whose preparing was abandoned, removes their tuples, and takes from live
   * ones what somebody else put on them. Returns how many were mended.
   */
  mend(): Promise<number>
}

/** Grants that a request names, and the question that it presents them with. */
export interface GrantPresentation {
  /** `g_…` */
  readonly named: readonly string[]
  readonly queryHmac?: string
}

/** What the pipeline needs of a grant that matched. */
export type PresentableGrant = Pick<ApprovalGrant, 'id' | 'objects' | 'remembered'>

/** One use of one grant, by whom and for what. */
export interface GrantUse extends Omit<GrantPresentation, 'named'> {
  readonly id: string
  readonly principal: Principal
  /** The call that is about to be made, for a grant of one. */
  readonly vaultCall?: VaultCall
}

export interface ApprovalGrantsDeps {
  readonly database: Database
  readonly fga: Fga
  readonly clock: Clock
  readonly log: Log
  readonly randomBytes: (size: number) => Buffer
}

const preparingMsMax = 60_000

/** Rows decide; tuples at OpenFGA follow and are mended. Does NOT check that a person agreed. */
export function createApprovalGrants(deps: ApprovalGrantsDeps): ApprovalGrants {
  const { database, fga, clock, log, randomBytes } = deps
  const now = () => new Date(clock.now())
  // As OpenFGA is asked: rounded up, so that a grant that ends within this second is over in both.
  const atOpenFga = () => new Date(Math.ceil(clock.now() / 1_000) * 1_000)
  const settleAll = (grants: readonly ApprovalGrant[]) => settleGrants({ sql: database, fga }, grants, now())
  const find = (text: string, values: readonly SqlValue[]) => readRows<ApprovalGrant>(database, text, values)

  return {
    async prepare(draft) {
      const id = `g_${randomBytes(16).toString('base64url')}`
      const grant = await database.transaction(async (sql) => {
        const checked = await checkedGrant(sql, { id, wanted: draft, now: now(), soonest: atOpenFga() })
        await insert(sql, checked, now())
        return checked
      })
      const writes = grantTuples(grant)
      if (writes.length > 0) await fga.write({ writes })
      return grant
    },
    async activateWithin(sql, id, recordedAs) {
      const delegationRow = await sql.query(
        `select from delegations
         where id = (select delegation from approval_grants where id = $1) and state = 'live' and expires_at > $2
         for share`,
        [id, now()],
      )
      if (delegationRow.length === 0) return false
      const [grant] = await readRows<ApprovalGrant>(
        sql,
        `update approval_grants set state = 'live', live_at = $2
         where id = $1 and state = 'preparing' and expires_at > $3 returning ${grantColumns}`,
        [id, now(), atOpenFga()],
      )
      if (grant === undefined) return false
      await record(sql, { ...recordedAs, delegation: grant.delegation }, madeEvent(grant))
      return true
    },
    async presentable(principal, { named, queryHmac }) {
      const holder = holderOf(principal)
      if (holder === undefined) return []
      return database.query<PresentableGrant>(
        `select id, objects, remembered from approval_grants
         where ${counts} and vault_call is null
           and (remembered or id = any($5) and (query_hmac is null or query_hmac = $6))
         order by id`,
        [...idsOf(holder), atOpenFga(), named, queryHmac ?? null],
      )
    },
    async useWithin(sql, { id, principal, queryHmac, vaultCall }) {
      const holder = holderOf(principal)
      if (holder === undefined) return false
      const [grant] = await readRows<ApprovalGrant>(
        sql,
        `update approval_grants set used = used + 1,
           state = case when used + 1 = max_uses then 'ended' else state end,
           ended_at = case when used + 1 = max_uses then $8 else ended_at end
         where ${counts} and id = $5 and (query_hmac is null or query_hmac = $6)
           and vault_call is not distinct from $7
         returning ${grantColumns}`,
        [
          ...idsOf(holder),
          atOpenFga(),
          id,
          queryHmac ?? null,
          vaultCall === undefined ? null : vaultCallText(vaultCall),
          now(),
        ],
      )
      if (grant?.state === 'ended') await recordEnd(sql, principal, grant, 'used_up')
      return grant !== undefined
    },
    async settle(ids) {
      try {
        const ended = await find(
          `select ${grantColumns} from approval_grants where id = any($1) and state = 'ended' and settled_at is null`,
          [ids],
        )
        if (ended.length > 0) await settleAll(ended)
      } catch (error) {
        log('grants_unsettled', { reason: reasonOf(error) })
      }
    },
    get: async (id) => (await find(`select ${grantColumns} from approval_grants where id = $1`, [id]))[0],
    async revoke(subject, id, recordedAs) {
      const grant = await database.transaction((sql) =>
        endGrant(sql, { subject, id, recordedAs, now: now() }),
      )
      if (grant === undefined) return false
      await settleAll([grant])
      return true
    },
    listOf: (subject) =>
      find(
        `select ${grantColumns} from approval_grants g
         where subject = $1 and state = 'live' and expires_at > $2
           and exists (select from delegations d where d.id = g.delegation and d.state = 'live' and d.expires_at > $2)
         order by live_at desc, id`,
        [subject, atOpenFga()],
      ),
    async mend() {
      await database.query(
        `update approval_grants set state = 'ended', ended_at = $2
         where state = 'preparing' and created_at < $1 or state = 'live' and expires_at <= $2`,
        [new Date(clock.now() - preparingMsMax), now()],
      )
      // A minute later: whoever prepared one that ended may still have been writing its tuples.
      const endedGrants = await find(
        `select ${grantColumns} from approval_grants
         where state = 'ended' and settled_at is null and ended_at <= $2 and created_at < $1`,
        [new Date(clock.now() - preparingMsMax), now()],
      )
      let strays = 0
      try {
        await eachOf(endedGrants, (grant) => settleAll([grant]))
      } finally {
        strays = await removeStrays()
      }
      return endedGrants.length + strays
    },
  }

  /** A tuple that our row does not know would widen what the person agreed to. */
  async function removeStrays(): Promise<number> {
    const liveGrants = await find(
      `select ${grantColumns} from approval_grants where state = 'live' and expires_at > $1`,
      [now()],
    )
    let mended = 0
    await eachOf(liveGrants, async (grant) => {
      const strays = await strayTuples(fga, grant)
      if (strays.length === 0) return
      log('grant_strays_removed', { grant: grant.id, count: strays.length })
      await fga.write({ deletes: strays })
      mended += 1
    })
    return mended
  }
}

// $1 subject, $2 agent, $3 delegation, $4 now as OpenFGA is asked. Its delegation is looked at as well: the
// row of a grant that was made while the delegation was being revoked says nothing of that.
const counts = `subject = $1 and agent = $2 and delegation = $3 and state = 'live' and expires_at > $4
  and (max_uses is null or used < max_uses)
  and exists (
    select from delegations
    where delegations.id = delegation and delegations.state = 'live' and delegations.expires_at > $4
  )`

const idsOf = ({ subject, agent, delegation }: GrantHolder) => [subject, agent, delegation]

async function insert(sql: Sql, grant: ApprovalGrant, now: Date): Promise<void> {
  await sql.query(
    `insert into approval_grants (id, approval, subject, agent, delegation, objects, query_hmac, vault_call, expires_at,
       max_uses, remembered, state, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'preparing', $12)`,
    [
      grant.id,
      grant.approval,
      grant.subject,
      grant.agent,
      grant.delegation,
      grant.objects,
      grant.queryHmac ?? null,
      grant.vaultCall === undefined ? null : vaultCallText(grant.vaultCall),
      grant.until,
      grant.maxUses ?? null,
      grant.remembered,
      now,
    ],
  )
}

async function endGrant(
  sql: Sql,
  {
    subject,
    id,
    recordedAs,
    now,
  }: { readonly subject: string; readonly id: string; readonly recordedAs: RecordActor; readonly now: Date },
): Promise<ApprovalGrant | undefined> {
  const [grant] = await readRows<ApprovalGrant>(
    sql,
    `update approval_grants set state = 'ended', ended_at = $3
     where id = $1 and subject = $2 and state = 'live' returning ${grantColumns}`,
    [id, subject, now],
  )
  if (grant !== undefined) await recordEnd(sql, recordedAs, grant, 'revoked')
  return grant
}

const madeEvent = (grant: ApprovalGrant) => ({
  event: 'grant_made' as const,
  grant: grant.id,
  approval: grant.approval,
  grantor: grant.subject,
  agent: grant.agent,
  objects: grant.objects,
  vault_call: grant.vaultCall === undefined ? null : recordedCall(grant.vaultCall),
  one_question: grant.queryHmac !== undefined,
  max_uses: grant.maxUses ?? null,
  remembered: grant.remembered,
  expires_at: grant.until.toISOString(),
})
