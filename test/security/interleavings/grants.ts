import { operator, record } from '../../../src/audit/record.ts'
import { createApprovalGrants } from '../../../src/delegation/approvals/grants.ts'
import { createDelegations } from '../../../src/delegation/lending/delegations.ts'
import { createAgents } from '../../../src/delegation/registry/agents.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import { createPresenting } from '../../../src/retrieval/approvals.ts'
import { ownIssuerUrl } from '../../delegation/world.ts'
import { isPause, type Outcome, type Pair } from '../../support/interleavings.ts'
import { type Plant, type Process, rowsOf, sends, type Two } from './two.ts'

/** Looks first whether a use is left, and counts it then. */
export const looksBeforeItCounts: Plant = {
  sql: (sql) => ({
    async query(text, values = []) {
      if (!text.includes('update approval_grants set used')) return sql.query(text, values)
      const left = await sql.query(
        `select 1 from approval_grants where id = $1 and state = 'live' and used < max_uses`,
        [values[4] ?? null],
      )
      if (left.length === 0) return []
      // A constraint of the table keeps the count in its bounds, and would tell.
      const counted = text.replace('used = used + 1', 'used = least(used + 1, max_uses)')
      const known = '($1::text, $2::text, $3::text, $4::timestamptz, $6::text, $7::text)'
      return sql.query(
        counted.replace(/where[\s\S]*returning/, `where id = $5 and (true or ${known} is null) returning`),
        values,
      )
    },
  }),
}

/** Ends grants with their delegation, past those that somebody uses just now. */
export const waitsForNoUse = sends((text) =>
  text.includes('update approval_grants') ? text.replace('for update', 'for update skip locked') : text,
)

let grants = 0

/** A yes to one question, `for` which two processes answer, or one answers and the person takes it back. */
export async function openGrants(two: Two, versus: 'use' | 'revoke' | 'revoke delegation'): Promise<Pair> {
  const { database, clock, applications } = two
  const agents = createAgents({ sql: database, clock })
  await agents.save({
    id: 'research-bot',
    owner: 'user:anne',
    purpose: 'tests',
    issuer: ownIssuerUrl,
    sub: 'research-bot',
  })
  const partsOf = ({ database, fga, newId }: Process) => {
    const randomBytes = (): Buffer => Buffer.from(newId())
    const deps = { database, fga, clock, log: () => undefined, randomBytes }
    const grants = createApprovalGrants(deps)
    return {
      grants,
      delegations: createDelegations(deps),
      presenting: createPresenting({
        database,
        approvals: { ...grants, mayOffer: async () => false, makeOfferWithin: async () => undefined },
        log: () => undefined,
      }),
    }
  }
  const parts = {
    A: partsOf(two.processes.A),
    B: partsOf(two.processes.B),
    C: partsOf(two.processes.C),
  }

  grants += 1
  two.mark = `setup${grants}`
  const subject = `user:anne-${grants}` as const
  const { id: delegation } = await parts.C.delegations.lend({
    subject,
    agent: 'research-bot',
    subAgents: [],
    scope: ['collection:handbook'],
    purpose: 'tests',
    expiresAt: new Date(clock.now() + 3_600_000),
  })
  const { id } = await parts.C.grants.prepare({
    approval: `ap_${grants}`,
    subject,
    agent: 'research-bot',
    delegation,
    objects: ['document:minutes'],
    until: new Date(clock.now() + 300_000),
    queryHmac: 'hmac',
    maxUses: 1,
  })
  await database.transaction((sql) => parts.C.grants.activateWithin(sql, id, operator('t_test')))
  const rows = {
    approval_grants: ['id', id],
    delegations: ['id', delegation],
    decision_records: ['subject', subject],
  } as const
  const restore = await two.remember(rows, [`grant:${id}`, `delegation:${delegation}`])

  return {
    name: `a grant of one use: used × ${titles[versus]}`,
    database,
    applications,
    async begin(mark) {
      two.mark = mark
      await restore()
      const principal = (txn: string): Principal => ({
        kind: 'agent',
        subject,
        actors: ['agent:research-bot'],
        client: 'bot',
        scopes: new Set(['docs.search']),
        authorizationDetails: [],
        delegation,
        txn,
        expiresAt: 0,
      })
      const usesOnRecord = async (): Promise<number> =>
        (
          await database.query(
            `select 1 from decision_records where event = 'drift_mended' and subject = $1`,
            [subject],
          )
        ).length
      /** An answer that rests on whatever is presented. */
      const answers = (side: 'A' | 'B') => () => {
        const who = principal(`t_${side}`)
        const { presenting } = parts[side]
        return presenting.answer(who, { named: [id], queryHmac: 'hmac' }, async (presented) => {
          const uses = { byDocument: new Map(), grants: presented.map((one) => one.id) }
          if (uses.grants.length === 0) return 'nothing'
          const counts = await presenting.commit(
            { uses, principal: who, queryHmac: 'hmac', isSingle: true },
            // Any record will do.
            (sql) => record(sql, who, { event: 'drift_mended', object: id, added: [], removed: [] }),
          )
          return counts ? 'released' : undefined
        })
      }
      const takesBack = async () => {
        const { grants, delegations } = parts.B
        const isBack =
          versus === 'revoke'
            ? await grants.revoke(subject, id, operator('t_B'))
            : await delegations.revoke(delegation, operator('t_B'))
        return { isBack, usedByThen: await usesOnRecord() }
      }
      const look = async () => ({
        ...(await rowsOf(database, rows)),
        tuples: [await two.tuples(`grant:${id}`), await two.tuples(`delegation:${delegation}`)],
      })
      return {
        A: answers('A'),
        B: versus === 'use' ? answers('B') : takesBack,
        look,
        timePasses: async () => undefined,
        async end({ A, B }, said) {
          clock.move(61_000)
          await parts.C.grants.mend()
          await parts.C.delegations.mend()
          clock.move(-61_000)
          const [grant] = await database.query<{ used: number; state: string }>(
            'select used, state from approval_grants where id = $1',
            [id],
          )
          const used = await usesOnRecord()
          if (used > 1) return `released ${used} times`
          if (grant?.used !== used) return `used ${used} times, and counted ${grant?.used}`
          const released = [A, B].filter(isReleased).length
          if (released > used) return 'released without a record'
          if (grant.state === 'ended' && (await two.tuples(`grant:${id}`)).length > 0)
            return 'over, and still in OpenFGA'
          if ('value' in B && isTakenBack(B.value)) {
            if (used > B.value.usedByThen) return 'used after it was taken back'
            if (grant.state !== 'ended') return 'taken back, and not over'
          }
          if ('value' in A && 'value' in B && versus === 'use' && released !== 1) return 'nobody had it'
          // What stood still inside a transaction lost it, and says so.
          if (!said.some(isPause) && [A, B].some((one) => 'error' in one)) return 'an error'
          return undefined
        },
        close: async () => undefined,
      }
    },
  }
}

const titles = { use: 'used', revoke: 'taken back', 'revoke delegation': 'its delegation taken back' }

const isReleased = (outcome: Outcome): boolean => 'value' in outcome && outcome.value === 'released'
const isTakenBack = (value: unknown): value is { readonly usedByThen: number } =>
  typeof value === 'object' && value !== null && 'isBack' in value && value.isBack === true
