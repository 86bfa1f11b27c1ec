import { randomBytes } from 'node:crypto'
import { createLimiter } from '../../../src/authz/gate/limiter.ts'
import { createAskNamed } from '../../../src/authz/gate/named.ts'
import { createVerdictCache } from '../../../src/authz/gate/verdict-cache.ts'
import { createGate } from '../../../src/authz/gate.ts'
import type { Approval, Requester } from '../../../src/delegation/approvals/approval.ts'
import { type Approvals, openApprovals } from '../../../src/delegation/approvals/approvals.ts'
import type { DecideOptions, Decision, GrantMaker } from '../../../src/delegation/approvals/decide.ts'
import type { ApprovalOptions } from '../../../src/delegation/approvals/request-approval.ts'
import type { RequestedAccess } from '../../../src/delegation/approvals/requested-access.ts'
import { digestOf } from '../../../src/delegation/approvals/view.ts'
import type { Backend } from '../../support/backends.ts'
import { openWorld, type World } from '../../support/world.ts'
import { type MovableClock, movableClock } from '../world.ts'

/**
 * The whole service, and approvals of its own over the same parts, on a clock that stands still until it is
 * moved.
 */
export interface AskingWorld extends World {
  readonly clock: MovableClock
  readonly approvals: Approvals
  /** One more process of the service, as far as approvals go. */
  another(): Promise<Approvals>
  /** Who asks for this person under a delegation of everything. */
  asker(person?: string, agent?: string): Promise<Requester>
  /** Puts the question about these documents. */
  ask(
    asker: Requester,
    documentIds: readonly string[],
    more?: Partial<ApprovalOptions> & { query?: string },
  ): Promise<Approval>
  /** Decides on what the page shows now; `over` replaces what the browser sends. */
  decide(
    approval: Pick<Approval, 'id' | 'subject'>,
    decision: Decision,
    over?: Partial<DecideOptions>,
  ): ReturnType<Approvals['decide']>
  /** Events on record of this approval, in order. */
  recorded(id: string): Promise<string[]>
}

export const documents = (documentIds: readonly string[], query = 'budget'): RequestedAccess => ({
  kind: 'documents',
  scopes: [],
  offer: `o_${randomBytes(8).toString('hex')}`,
  documentIds,
  queryHmac: `hmac of ${query}`,
})

export interface AskingWorldOptions {
  readonly backend?: Pick<Backend, 'database' | 'openfga'>
  readonly grants: (world: World) => GrantMaker
  readonly assertOpen?: () => void
}

/** Anne may read `board/1`, `board/2` and `board/3` (sensitive) and not `board/4`; bob owns them. */
export async function openAskingWorld(options: AskingWorldOptions): Promise<AskingWorld> {
  const clock = movableClock()
  const world = await openWorld({
    ...(options.backend !== undefined && { backend: options.backend }),
    now: () => clock.now(),
  })
  await world.put(
    Object.fromEntries(
      ['1', '2', '3', '4'].map((name) => [
        `board/${name}`,
        {
          collection: 'finance',
          title: `Minutes ${name}`,
          text: 'The budget of the board.',
          access: {
            owner: 'user:bob',
            viewers: name === '4' ? [] : ['user:anne'],
            sensitive: true,
          },
        },
      ]),
    ),
  )
  await world.write('user:anne viewer collection:finance')
  const { fga, index } = world.service
  const now = () => clock.now()
  const parts = {
    fga,
    index,
    verdictCache: createVerdictCache({ now, ttlMs: 0 }),
    limiter: createLimiter(100),
    now,
  }
  const opened: Approvals[] = []
  async function another(): Promise<Approvals> {
    const approvals = await openApprovals({
      database: world.database,
      sql: world.database,
      fga,
      gate: createGate({
        ...parts,
        askNamed: createAskNamed({ ...parts, randomBytes }),
        cacheTtlMs: 10_000,
      }),
      grants: options.grants(world),
      clock,
      randomBytes,
      log: () => undefined,
      assertOpen: options.assertOpen ?? (() => undefined),
      publicUrl: world.config.publicUrl,
    })
    opened.push(approvals)
    return approvals
  }
  const approvals = await another()
  return {
    ...world,
    clock,
    approvals,
    another,
    async asker(person = 'anne', agent = 'research-bot') {
      const delegation = await world.lend(person, agent, 'collection:finance')
      return { subject: `user:${person}`, agent, client: 'agent-app', delegation, txn: 't_asked' }
    },
    ask: (asker, documentIds, { query, ...wish } = {}) =>
      approvals.ask(asker, documents(documentIds, query), {
        purpose: 'The quarterly report',
        seconds: 300,
        front: 'rest',
        ...wish,
      }),
    async decide({ id, subject }, decision, over = {}) {
      const shown = await approvals.oneOfMine(subject, id)
      return approvals.decide(subject, id, decision, {
        digest: shown === undefined ? 'none' : digestOf(shown),
        session: {
          person: subject.slice('user:'.length),
          subject,
          verifiedAt: new Date(clock.now()),
        },
        ...over,
      })
    },
    async recorded(id) {
      const rows = await world.database.query<{ event: string }>(
        `select event from decision_records where detail ->> 'approval' = $1 order by record_no`,
        [id],
      )
      return rows.map(({ event }) => event)
    },
    async [Symbol.asyncDispose]() {
      for (const one of opened) await one[Symbol.asyncDispose]()
      await world[Symbol.asyncDispose]()
    },
  }
}

/** Grants that open nothing: what is looked at here is whether and with what they are made. */
export function notedGrants() {
  const prepared: Parameters<GrantMaker['prepare']>[0][] = []
  const activated: string[] = []
  return {
    prepared,
    activated,
    maker: {
      prepare: async (wanted) => {
        prepared.push(wanted)
        return { id: `g_${prepared.length}` }
      },
      activateWithin: async (_, id) => {
        activated.push(id)
        return true
      },
    } satisfies GrantMaker,
  }
}
