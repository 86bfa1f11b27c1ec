import { randomBytes } from 'node:crypto'
import type { Fga } from '../../src/authz/fga.ts'
import { type Approvals, openApprovals } from '../../src/delegation/approvals/approvals.ts'
import type { Decision } from '../../src/delegation/approvals/decide.ts'
import { digestOf } from '../../src/delegation/approvals/view.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import type { Database } from '../../src/store/sql.ts'

/** A person in a process of its own, who decides what is not about documents. */
export interface Decider extends AsyncDisposable {
  readonly approvals: Approvals
  /** On what their page shows now. */
  decide(subject: FgaObject, id: string, decision: Decision): ReturnType<Approvals['decide']>
}

export async function openDecider(database: Database): Promise<Decider> {
  const none = () => {
    throw new Error('Nothing here is about documents.')
  }
  const fga: Fga = {
    storeId: 'none',
    modelId: 'none',
    batchCheck: none,
    listObjects: none,
    read: none,
    readAll: none,
    readChanges: none,
    write: none,
    writeEach: none,
    isOrderly: none,
    isHealthy: none,
  }
  const approvals = await openApprovals({
    database,
    sql: database,
    fga,
    gate: { open: none, named: none },
    grants: { prepare: none, activateWithin: none },
    clock: { now: Date.now },
    randomBytes,
    log: () => undefined,
    assertOpen: () => undefined,
    publicUrl: 'https://remit.test',
  })
  return {
    approvals,
    async decide(subject, id, decision) {
      const shown = await approvals.oneOfMine(subject, id)
      if (shown === undefined) throw new Error('not shown')
      const person = subject.slice('user:'.length)
      const now = new Date()
      const session = { person, subject, signedInAt: now, amr: ['pwd'], verifiedAt: now }
      return approvals.decide(subject, id, decision, { digest: digestOf(shown), session })
    },
    [Symbol.asyncDispose]: () => approvals[Symbol.asyncDispose](),
  }
}
