import { chmodSync } from 'node:fs'
import { isRemitError, type Writer } from '@remit/client'
import { memoryState, type Source, SourceUnavailable, type SyncState, syncOnce } from '@remit/connector'
import { describe, expect, test } from 'vitest'
import { createRandom, type Random } from '../../../packages/engine/test/support/random.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import type { Check } from '../../../src/authz/fga.ts'
import { AppError } from '../../../src/kernel/errors.ts'
import { createSerialQueue } from '../../../src/kernel/serial-queue.ts'
import { createFilesSource } from '../../../src/sources/kinds/files/files-source.ts'
import { type IngestWorld, openIngestWorld } from '../../ingest/world.ts'
import { needsOpenfga, needsPostgres } from '../../support/native.ts'
import { ingestWriter } from './ingest-writer.ts'
import { type Kernel, needsRootAndAcls, openKernel } from './kernel.ts'
import { openTree, subjectOf, type TreeWorld } from './tree.ts'

const steps = 20
/** By hand more: `FILES_WORLDS=15` is 300 steps. */
const worlds = Number(process.env['FILES_WORLDS'] || 1)
const sizeOf = (random: Random) => ({
  people: 6 + random.below(5),
  groups: 3 + random.below(3),
  files: 18 + random.below(13),
})

type Readers = ReadonlyMap<string, ReadonlySet<string>>

class Killed extends Error {}

/** The text of each document that can be read → who may, by OpenFGA. */
async function readersIn(remit: IngestWorld, tree: TreeWorld): Promise<Readers> {
  const documents = await remit.database.query<{ id: string; text: string }>(
    `select d.id, t.text from documents d join chunk_texts t on t.doc_no = d.doc_no
     join chunks c using (chunk_id) where d.live_revision is not null`,
  )
  const pairs = documents.flatMap((document) => tree.people.map((person) => ({ document, person })))
  const verdicts = await verdictsOf(
    remit,
    pairs.map(({ document, person }) => ({
      user: subjectOf(person),
      relation: 'can_read',
      object: `document:${document.id}` as const,
    })),
  )
  const found = new Map<string, Set<string>>()
  for (const [index, { document, person }] of pairs.entries()) {
    if (verdicts[index] !== 'allowed') continue
    found.set(document.text, (found.get(document.text) ?? new Set()).add(person.name))
  }
  return found
}

/** Asked again where a busy machine did not answer in time: an error says nothing. */
async function verdictsOf(remit: IngestWorld, checks: readonly Check[]): Promise<readonly string[]> {
  const verdicts: string[] = []
  for (let offset = 0; offset < checks.length; offset += 12)
    verdicts.push(...(await answered(remit, checks.slice(offset, offset + 12))))
  return verdicts
}

async function answered(remit: IngestWorld, checks: readonly Check[]): Promise<readonly string[]> {
  for (let attempt = 0; attempt < 30; attempt += 1) {
    const page = await remit.fga.batchCheck(checks, { now: Date.now() }).catch((error: unknown) => {
      if (!isOutage(error)) throw error
      return undefined
    })
    if (page !== undefined && !page.verdicts.includes('error')) return page.verdicts
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
  throw new Error('OpenFGA does not answer.')
}

/** One side is away: a sync stops as it stands, and the next one goes on. */
const isOutage = (error: unknown): boolean =>
  error instanceof SourceUnavailable ||
  ((error instanceof AppError || isRemitError(error)) && (error.status ?? 500) >= 500)

const asText = (readers: Readers): readonly string[] =>
  [...readers]
    .filter(([, names]) => names.size > 0)
    .map(([text, names]) => `${text}: ${[...names].sort()}`)
    .sort()

/** Who could ever read which text, as the kernel said after each change. */
class Ledger {
  readonly #pairs = new Set<string>()
  add(readers: Readers): void {
    for (const [text, names] of readers) for (const name of names) this.#pairs.add(`${text} ${name}`)
  }
  leaks(readers: Readers): readonly string[] {
    return [...readers]
      .flatMap(([text, names]) => [...names].map((name) => `${text} ${name}`))
      .filter((pair) => !this.#pairs.has(pair))
  }
}

/** Calls `between` before each call of a writer and of a source, and after. */
function interrupted<T extends object>(target: T, between: (call: string) => Promise<void>): T {
  return new Proxy(target, {
    get(it, name) {
      const member: unknown = Reflect.get(it, name)
      if (typeof member !== 'function' || name === 'changes') return member
      return async (...args: readonly unknown[]) => {
        await between(`before ${String(name)}`)
        const answer: unknown = await member.apply(it, args)
        await between(`after ${String(name)}`)
        return answer
      }
    },
  })
}

/** The same for the loading of each item. */
const withLoads = (source: Source, between: (call: string) => Promise<void>): Source => ({
  ...interrupted(source, between),
  async *changes(cursor, signal) {
    for await (const page of source.changes(cursor, signal))
      yield {
        ...page,
        changes: page.changes.map((change) => {
          if (change.kind !== 'item' || typeof change.content !== 'function') return change
          const load = change.content
          return {
            ...change,
            content: async (loadSignal) => {
              await between('before load')
              const loaded = await load(loadSignal)
              await between('after load')
              return loaded
            },
          }
        }),
      }
  },
})

const backend = { database: 'postgres', openfga: 'server' } as const
const needed = [needsRootAndAcls, needsPostgres, needsOpenfga].find(({ skip }) => skip) ?? {}

describe('a tree of files under a random driver', needed, () => {
  test.each(Array.from({ length: worlds }, (_, index) => seed + index))(
    `lets everybody find what the kernel lets them read, and never more than it ever did (FUZZ_SEED=%i)`,
    { timeout: 60_000 + steps * 30_000 },
    async (worldSeed) => {
      const random = createRandom(worldSeed)
      await using kernel = openKernel()
      await using tree = openTree(sizeOf(random), random)
      await using remit = await openIngestWorld(backend)
      const run = openRun({ tree, kernel, remit, random })
      for (let step = 0; step < steps; step += 1) await run.step(step)
      console.info(`FUZZ_SEED=${worldSeed}`, run.seen, `in force after ${run.lagP99()} ms (p99)`)
      // The worlds hold what the promise is about.
      for (const count of Object.values(run.seen)) expect(count).toBeGreaterThan(0)
    },
  )
})

describe('a change of permissions', needed, () => {
  test('of a folder high up is in force for all below, and reads, brings and embeds none of it anew', {
    timeout: 300_000,
  }, async () => {
    await using kernel = openKernel()
    await using tree = openTree({ people: 6, groups: 3, files: 30 }, createRandom(seed))
    await using remit = await openIngestWorld(backend)
    const source = createFilesSource(
      { root: tree.root, collection: 'closed', prefix: 'files/', people: tree.settings },
      { readAccounts: tree.readAccounts, titleOf: async () => undefined, now: Date.now },
    )
    const state = memoryState()
    const calls: string[] = []
    const writer = interrupted(ingestWriter(remit, 'files/'), async (call) => void calls.push(call))
    await syncOnce(source, writer, state)
    // What changed within a tick of the clock is told twice.
    await new Promise((resolve) => setTimeout(resolve, 1_200))
    await syncOnce(source, writer, state)
    let prepared = 0
    remit.onPrepared = () => {
      prepared += 1
    }
    calls.length = 0
    for (const mode of [0o700, 0o755]) {
      chmodSync(tree.root, mode)
      const { failed, reapplied } = await syncOnce(source, writer, state)
      expect({ failed: failed.filter(({ id }) => id !== undefined), reapplied }).toEqual({
        failed: [],
        reapplied: 0,
      })
      expect(asText(await readersIn(remit, tree))).toEqual(asText(await tree.readers(kernel)))
    }
    expect(asText(await readersIn(remit, tree)).length).toBeGreaterThan(0)
    expect(new Set(calls)).toEqual(new Set(['before changeAccess', 'after changeAccess']))
    expect(prepared).toBe(0)
  })
})

interface RunDeps {
  readonly tree: TreeWorld
  readonly kernel: Kernel
  readonly remit: IngestWorld
  readonly random: Random
}

function openRun({ tree, kernel, remit, random }: RunDeps) {
  const seen = { compared: 0, readable: 0, looks: 0, killed: 0, raced: 0, lostCursors: 0 }
  const ledger = new Ledger()
  const lags: number[] = []
  const done: string[] = []
  const state = memoryState()
  const open = (): Source =>
    createFilesSource(
      { root: tree.root, collection: 'closed', prefix: 'files/', people: tree.settings },
      { readAccounts: tree.readAccounts, titleOf: async () => undefined, now: Date.now },
    )
  let source = open()
  const writer = ingestWriter(remit, 'files/')

  // Items are loaded several at a time: the kernel is asked of each change before the next one.
  const changes = createSerialQueue()
  const change = (): Promise<void> =>
    changes.run(async () => {
      done.push(tree.change(random))
      ledger.add(await tree.readers(kernel))
    })

  async function look(when: string): Promise<void> {
    seen.looks += 1
    expect(ledger.leaks(await readersIn(remit, tree)), `${when}:\n${done.slice(-30).join('\n')}`).toEqual([])
  }

  /** A sync during which things change, and which may be killed at any call. */
  async function raced(isKilled = random.chance(0.5)): Promise<void> {
    const killAt = isKilled ? random.below(10) : Number.POSITIVE_INFINITY
    let calls = 0
    const between = async (call: string): Promise<void> => {
      calls += 1
      if (calls > killAt) throw new Killed()
      if (random.chance(0.15)) {
        done.push(`(${call})`)
        await change()
        seen.raced += 1
      }
      if (random.chance(0.05)) await look(call)
    }
    const racing: Writer = interrupted(writer, between)
    const mortal: SyncState = interrupted(state, between)
    try {
      await syncOnce(withLoads(source, between), racing, mortal)
    } catch (error) {
      if (error instanceof Killed) {
        seen.killed += 1
        done.push('(killed)')
        source = open()
        if (random.chance(0.3)) await remit.kill()
      } else if (!isOutage(error)) throw error
    }
    await look('after a sync')
  }

  async function settle(): Promise<void> {
    let failed: readonly unknown[] = ['nothing was read']
    for (let attempt = 0; attempt < 10 && failed.length > 0; attempt += 1) {
      try {
        const { directory, ...report } = await syncOnce(source, writer, state)
        failed = report.failed.filter(({ id }) => id !== undefined)
        failed = [...failed, ...(directory?.failed ?? []), ...(directory?.closed ?? [])]
      } catch (error) {
        if (!isOutage(error)) throw error
      }
    }
    expect(failed, done.slice(-30).join('\n')).toEqual([])
  }

  return {
    seen,
    /** From the last change until a sync that tells of it has ended. */
    lagP99: () => lags.toSorted((a, b) => a - b)[Math.ceil(lags.length * 0.99) - 1],
    /** The first two do what chance might leave out. */
    async step(index: number): Promise<void> {
      for (let count = 1 + random.below(5); count > 0; count -= 1) await change()
      if (index === 1 || random.chance(0.15)) {
        seen.lostCursors += 1
        done.push('(lost cursor)')
        await state.apply({ cursor: null })
      }
      if (index < 2 || random.chance(0.6)) await raced(index === 0 || undefined)
      const began = performance.now()
      await settle()
      lags.push(Math.round(performance.now() - began))
      const [found, expected] = [await readersIn(remit, tree), await tree.readers(kernel)]
      expect(asText(found), done.slice(-30).join('\n')).toEqual(asText(expected))
      seen.compared += tree.people.length * tree.files().length
      for (const names of expected.values()) seen.readable += names.size
    },
  }
}
