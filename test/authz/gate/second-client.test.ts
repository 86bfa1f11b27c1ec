import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Fga } from '../../../src/authz/fga.ts'
import { createVerdictCache } from '../../../src/authz/gate/verdict-cache.ts'
import type { Gate, Proof } from '../../../src/authz/gate.ts'
import { createPermissionIndex, type FollowingIndex } from '../../../src/authz/index/create.ts'
import { dropAfterWrites } from '../../../src/authz/index/own-writes.ts'
import { createStorage } from '../../../src/authz/index/storage.ts'
import { readDsl } from '../../../src/authz/model/dsl.ts'
import { observeWrites } from '../../../src/authz/observed-fga.ts'
import { createFga, createFgaApi } from '../../../src/authz/openfga.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import type { Database } from '../../../src/store/sql.ts'
import { openTestDatabase } from '../../support/database.ts'
import { native, needsOpenfga, needsPostgres } from '../../support/native.ts'
import { anne, annesBot } from '../double.ts'
import { gateOf } from '../parts.ts'
import { toTuple } from './world.ts'

// Each way is tried this often: the figures are of all of them together.
const rounds = Number(process.env.REVOCATION_ROUNDS ?? 5)

const end = 'until 2099-01-01T00:00:00Z'
const viewer = 'user:anne viewer document:D'
const lent = ['delegation:d_1 delegated_to document:D', `user:anne delegator delegation:d_1 ${end}`]
const agent = 'agent:research-bot agent delegation:d_1'

/** Every way in which a held yes could outlive what it rests on; D, G, F, C are of each round's own. */
const ways: readonly {
  readonly title: string
  readonly tuples: readonly string[]
  readonly deletes?: readonly string[]
  readonly writes?: readonly string[]
  readonly principal?: Principal
}[] = [
  { title: 'the tuple itself', tuples: [viewer], deletes: [viewer] },
  {
    title: 'a membership of a group',
    tuples: ['user:anne member group:G', 'group:G#member viewer document:D'],
    deletes: ['user:anne member group:G'],
  },
  {
    title: "a group's membership of another",
    tuples: [
      'user:anne member group:G1',
      'group:G1#member member group:G',
      'group:G#member viewer document:D',
    ],
    deletes: ['group:G1#member member group:G'],
  },
  {
    title: 'the place of its folder',
    tuples: ['user:anne viewer folder:F', 'folder:F parent folder:F1', 'folder:F1 parent document:D'],
    deletes: ['folder:F parent folder:F1'],
  },
  { title: 'being let in: she was blocked', tuples: [viewer], writes: ['user:anne blocked document:D'] },
  {
    title: 'being let in: a group of hers was blocked',
    tuples: [viewer, 'user:anne member group:G'],
    writes: ['group:G#member blocked document:D'],
  },
  {
    title: 'being let in: she came into a blocked group',
    tuples: [viewer, 'group:G#member blocked document:D'],
    writes: ['user:anne member group:G'],
  },
  {
    title: 'being ordinary: it became sensitive',
    tuples: [viewer, ...lent, agent],
    writes: ['user:* sensitive document:D'],
    principal: annesBot,
  },
  {
    title: 'being ordinary: its collection became sensitive',
    tuples: [viewer, ...lent, agent, 'collection:C filed_in document:D'],
    writes: ['user:* sensitive collection:C'],
    principal: annesBot,
  },
  {
    title: 'the agent in its delegation',
    tuples: [viewer, ...lent, agent],
    deletes: [agent],
    principal: annesBot,
  },
  { title: 'what was lent', tuples: [viewer, ...lent, agent], deletes: [lent[0] ?? ''], principal: annesBot },
]

describe.skipIf(needsPostgres.skip)('while another client writes to the same server', needsPostgres, () => {
  let database: Database
  let index: FollowingIndex
  let other: Fga
  let gate: Gate
  beforeAll(async () => {
    if (native.openfga === undefined) return
    const { url: apiUrl, token: apiToken } = native.openfga
    const mine = createFgaApi({ apiUrl, apiToken, timeoutMs: 4_000 })
    const theirs = createFgaApi({ apiUrl, apiToken, timeoutMs: 4_000 })
    const json = readDsl(await readFile('model.fga', 'utf8'))
    const { id } = await mine.createStore({ name: 'second client' })
    const { authorization_model_id: model } = await mine.writeAuthorizationModel(id, json)
    other = createFga(theirs, id, () => model)
    database = await openTestDatabase('postgres')
    const port = createFga(mine, id, () => model)
    index = createPermissionIndex({
      fga: port,
      storage: createStorage(database, id),
      now: Date.now,
      log: () => undefined,
      pollMs: 100,
    })
    index.useModel(model, json)
    const held = createVerdictCache({ now: Date.now, ttlMs: 5_000 })
    const fga = observeWrites(port, [dropAfterWrites(index, held, () => index.catchUp())])
    gate = gateOf({ fga, now: Date.now, index, held })
    await index.catchUp()
  })
  afterAll(async () => {
    await index?.[Symbol.asyncDispose]()
    await database?.close()
  })

  async function ask(principal: Principal, id: string): Promise<Proof | undefined> {
    const clearing = gate.open(principal, { consistency: 'fast' })
    await clearing.clear([{ documentId: id }])
    return clearing.proofOf(id)
  }

  /** Milliseconds from the other client's answer to the last question that was still answered with yes. */
  async function takeAway(way: (typeof ways)[number], round: string): Promise<number> {
    const { tuples, deletes = [], writes = [], principal = anne } = way
    const own = (line: string) =>
      toTuple(line.replace(/:([DGFC]\d?)(?=[ #]|$)/g, `:$1-${round}`).replaceAll('d_1', `d_${round}`))
    const who = principal.delegation === undefined ? principal : { ...principal, delegation: `d_${round}` }
    const id = `D-${round}`
    await other.write({ writes: tuples.map(own) })
    await expect.poll(async () => (await ask(who, id))?.kind, { timeout: 10_000, interval: 20 }).toBe('held')

    let askedAt = Number.NEGATIVE_INFINITY
    let goneAt: number | undefined
    let heldSince = 0
    let isOver = false
    const asking = (async () => {
      while (!isOver) {
        const began = performance.now()
        const proof = await ask(who, id)
        if (proof === undefined) goneAt ??= began
        else askedAt = began
        if (proof?.kind === 'held') heldSince += 1
        await sleep(2)
      }
    })()
    // However long that takes: what is written comes between two of its questions.
    await expect.poll(() => heldSince, { timeout: 10_000, interval: 5 }).toBeGreaterThan(2)
    await other.write({ deletes: deletes.map(own), writes: writes.map(own) })
    const tookAt = performance.now()
    try {
      await expect.poll(() => goneAt, { timeout: 10_000, interval: 5 }).toBeDefined()
      // It does not come back.
      await sleep(150)
    } finally {
      isOver = true
      await asking
    }
    return Math.max(0, askedAt - tookAt)
  }

  test('no held yes outlives what it rests on by more than the replica is behind', {
    ...needsOpenfga,
    timeout: 300_000,
  }, async () => {
    const lags: { readonly title: string; readonly ms: number }[] = []
    for (let round = 0; round < rounds; round += 1)
      for (const [nth, way] of ways.entries())
        lags.push({ title: way.title, ms: await takeAway(way, `${round}-${nth}`) })
    const sorted = lags.map(({ ms }) => ms).sort((a, b) => a - b)
    const at = (share: number): number => sorted[Math.ceil(sorted.length * share) - 1] ?? Number.NaN
    console.log(
      `${lags.length} removals by another client, in ${ways.length} ways: a held yes was repeated for at most ` +
        `p50 ${at(0.5).toFixed(0)} ms, p99 ${at(0.99).toFixed(0)} ms, max ${at(1).toFixed(0)} ms after`,
    )
    // Of design and decision 0007: the log is read every 100 ms, and nothing is held where it was not for a
    // second.
    expect(at(0.99)).toBeLessThanOrEqual(1_000)
  })
})
