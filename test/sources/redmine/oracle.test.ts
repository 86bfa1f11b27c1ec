import { isRemitError, type Writer } from '@remit/client'
import { memoryState, type Source, SourceUnavailable, type SyncState, syncOnce } from '@remit/connector'
import { describe, expect, test } from 'vitest'
import { createRandom, type Random } from '../../../packages/engine/test/support/random.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import type { Check } from '../../../src/authz/fga.ts'
import { AppError } from '../../../src/kernel/errors.ts'
import { createSerialQueue } from '../../../src/kernel/serial-queue.ts'
import { createGuardedFetch } from '../../../src/outbound/guarded-fetch.ts'
import { createSourceFetch } from '../../../src/sources/fetch.ts'
import { redmineKind } from '../../../src/sources/kinds/redmine/kind.ts'
import { type IngestWorld, openIngestWorld } from '../../ingest/world.ts'
import { needsOpenfga, needsPostgres, needsRedmine } from '../../support/native.ts'
import { ingestWriter } from '../files/ingest-writer.ts'
import { openRedmineWorld, type Readers, type RedmineWorld, subjectOf } from './world.ts'

const steps = 20
/** By hand more: `REDMINE_WORLDS=15` is 300 steps. */
const worlds = Number(process.env['REDMINE_WORLDS'] || 1)
const sizeOf = (random: Random) => ({
  people: 5 + random.below(3),
  groups: 2,
  roles: 3,
  projects: 3 + random.below(2),
  issues: 8 + random.below(5),
  pages: 4 + random.below(3),
})

class Killed extends Error {}

/** The text of each document that can be read → who may, by OpenFGA. */
async function readersIn(remit: IngestWorld, { people }: RedmineWorld): Promise<Readers> {
  const documents = await remit.database.query<{ id: string; text: string }>(
    `select d.id, t.text from documents d join chunk_texts t on t.doc_no = d.doc_no
     join chunks c using (chunk_id) where d.live_revision is not null`,
  )
  const pairs = documents.flatMap((document) => people.map(({ login }) => ({ document, login })))
  const verdicts = await verdictsOf(
    remit,
    pairs.map(({ document, login }) => ({
      user: `user:${login}`,
      relation: 'can_read',
      object: `document:${document.id}` as const,
    })),
  )
  const found = new Map<string, Set<string>>()
  for (const [index, { document, login }] of pairs.entries()) {
    const text = /text\d+/.exec(document.text)?.[0]
    if (verdicts[index] !== 'allowed' || text === undefined) continue
    found.set(text, (found.get(text) ?? new Set()).add(login))
  }
  return found
}

async function verdictsOf(remit: IngestWorld, checks: readonly Check[]): Promise<readonly string[]> {
  const verdicts: string[] = []
  for (let offset = 0; offset < checks.length; offset += 24)
    verdicts.push(...(await answered(remit, checks.slice(offset, offset + 24))))
  return verdicts
}

/** Asked again where a busy machine did not answer in time: an error says nothing. */
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

/** Who could ever see which text, as Redmine said after each change. */
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

type Between = (call: string) => Promise<void>

/** Calls `between` before each call, and after. */
const interrupted = <T extends object>(target: T, between: Between): T =>
  new Proxy(target, {
    get(it, name) {
      const member: unknown = Reflect.get(it, name)
      if (typeof member !== 'function') return member
      return async (...args: readonly unknown[]) => {
        await between(`before ${String(name)}`)
        const answer: unknown = await member.apply(it, args)
        await between(`after ${String(name)}`)
        return answer
      }
    },
  })

const backend = { database: 'postgres', openfga: 'server' } as const
const needed = [needsRedmine, needsPostgres, needsOpenfga].find(({ skip }) => skip) ?? {}

describe('a Redmine under a random driver', needed, () => {
  test.each(Array.from({ length: worlds }, (_, index) => seed + index))(
    `lets everybody find what Redmine shows them, and never more than it ever did (FUZZ_SEED=%i)`,
    { timeout: 120_000 + steps * 30_000 },
    async (worldSeed) => {
      const random = createRandom(worldSeed)
      await using redmine = await openRedmineWorld(sizeOf(random), random)
      await using remit = await openIngestWorld(backend)
      const run = openRun({ redmine, remit, random })
      for (let step = 0; step < steps; step += 1) await run.step(step)
      console.info(`FUZZ_SEED=${worldSeed}`, run.seen, `in force after ${run.lagP99()} ms (p99)`)
      // The worlds hold what the promise is about.
      for (const count of Object.values(run.seen)) expect(count).toBeGreaterThan(0)
    },
  )
})

interface RunDeps {
  readonly redmine: RedmineWorld
  readonly remit: IngestWorld
  readonly random: Random
}

function openRun({ redmine, remit, random }: RunDeps) {
  const seen = {
    compared: 0,
    readable: 0,
    asked: 0,
    looks: 0,
    killed: 0,
    raced: 0,
    throttled: 0,
    lostCursors: 0,
  }
  const ledger = new Ledger()
  const lags: number[] = []
  const done: string[] = []
  const state = memoryState()
  /** Before each request to Redmine. */
  let onRequest: Between = async () => undefined
  const { url } = redmine.server
  const guarded = createGuardedFetch({ lookup: async () => [], allowedOrigins: [url] })
  const open = (): Source => {
    const { fetch } = createSourceFetch({
      origin: url,
      perMinute: 1_000_000,
      now: Date.now,
      sleep: async () => undefined,
      signal: new AbortController().signal,
      async outbound(link, request) {
        await onRequest(`GET ${link.slice(url.length)}`)
        if (random.chance(0.02)) {
          seen.throttled += 1
          return { status: 429, headers: new Headers({ 'retry-after': '1' }), body: new Uint8Array() }
        }
        return guarded(link, request)
      },
    })
    const people = redmine.people.map(({ id, login }) => ({ account: id, subject: subjectOf(login) }))
    return redmineKind.read({ url, people, non_member_role: redmine.nonMemberRole }).open({
      prefix: 'redmine/',
      collections: ['closed'],
      fetch,
      secret: redmine.key,
      titleOf: async () => undefined,
    })
  }
  let source = open()
  const writer = ingestWriter(remit, 'redmine/')

  // Items are loaded several at a time: Redmine is asked of each change before the next one.
  const changes = createSerialQueue()
  const change = (): Promise<void> =>
    changes.run(async () => {
      done.push(await redmine.change(random))
      ledger.add(await redmine.readers())
    })
  const told = () => done.slice(-40).join('\n')

  async function look(when: string): Promise<void> {
    seen.looks += 1
    expect(ledger.leaks(await readersIn(remit, redmine)), `${when}:\n${told()}`).toEqual([])
  }

  /** A sync during which things change, and which may be killed at any call. */
  async function raced(isKilled = random.chance(0.5)): Promise<void> {
    const killAt = isKilled ? random.below(60) : Number.POSITIVE_INFINITY
    let calls = 0
    const between = async (call: string): Promise<void> => {
      calls += 1
      if (calls > killAt) throw new Killed()
      if (random.chance(0.06)) {
        done.push(`(${call})`)
        await change()
        seen.raced += 1
      }
      if (random.chance(0.01)) await look(call)
    }
    onRequest = between
    const racing: Writer = interrupted(writer, between)
    const mortal: SyncState = interrupted(state, between)
    try {
      await syncOnce(source, racing, mortal)
    } catch (error) {
      if (error instanceof Killed) {
        seen.killed += 1
        done.push('(killed)')
        source = open()
        if (random.chance(0.3)) await remit.kill()
      } else if (!isOutage(error)) throw error
    } finally {
      onRequest = async () => undefined
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
        failed = [error]
      }
    }
    expect(failed, told()).toEqual([])
  }

  /** What Redmine answers over HTTP to one of them is what its own code says. */
  async function ask(expected: Readers): Promise<void> {
    const { login } = random.pick(redmine.people)
    const texts = [...expected].flatMap(([text, names]) => (names.has(login) ? [text] : []))
    expect([...(await redmine.answers(login))].sort(), told()).toEqual(texts.sort())
    seen.asked += 1
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
      const [found, expected] = [await readersIn(remit, redmine), await redmine.readers()]
      expect(asText(found), told()).toEqual(asText(expected))
      await ask(expected)
      for (const names of expected.values()) seen.readable += names.size
      seen.compared += redmine.people.length * expected.size
    },
  }
}
