import { isRemitError } from '@remit/client'
import { memoryState, type Source, SourceUnavailable, syncOnce } from '@remit/connector'
import { expect } from 'vitest'
import type { Random } from '../../packages/engine/test/support/random.ts'
import type { Check } from '../../src/authz/fga.ts'
import { AppError } from '../../src/kernel/errors.ts'
import { createSerialQueue } from '../../src/kernel/serial-queue.ts'
import type { IngestWorld } from '../ingest/world.ts'
import { ingestWriter } from './ingest-writer.ts'

/** The text of each document that can be read → who may, by name. */
export type Readers = ReadonlyMap<string, ReadonlySet<string>>

/**
 * A real server, whose own word is held against what Remit lets people find. No two texts of it are the same.
 */
export interface DrivenWorld {
  /** In Remit each is `user:NAME`. */
  readonly people: readonly { readonly name: string }[]
  /** Does something that somebody there could do. What it did, in words. */
  change(random: Random): Promise<string>
  /** By the server's own answers. */
  readers(): Promise<Readers>
  /** What of a text in Remit is one of the server's. Default: all of it. */
  textOf?(stored: string): string | undefined
}

class Killed extends Error {}

/** Of a process: what it began before it was killed does nothing more. */
interface Life {
  isOver: boolean
}

/** Who may read which text, by OpenFGA. */
export async function readersIn(
  remit: IngestWorld,
  { people, textOf = (stored) => stored }: Pick<DrivenWorld, 'people' | 'textOf'>,
): Promise<Readers> {
  const documents = await remit.database.query<{ id: string; text: string }>(
    `select d.id, t.text from documents d join chunk_texts t on t.doc_no = d.doc_no
     join chunks c using (chunk_id) where d.live_revision is not null`,
  )
  const pairs = documents.flatMap((document) => people.map((person) => ({ document, person })))
  const verdicts = await verdictsOf(
    remit,
    pairs.map(({ document, person }) => ({
      user: `user:${person.name}`,
      relation: 'can_read',
      object: `document:${document.id}` as const,
    })),
  )
  const found = new Map<string, Set<string>>()
  for (const [index, { document, person }] of pairs.entries()) {
    const text = textOf(document.text)
    if (verdicts[index] !== 'allowed' || text === undefined) continue
    found.set(text, (found.get(text) ?? new Set()).add(person.name))
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

export const asText = (readers: Readers): readonly string[] =>
  [...readers]
    .filter(([, names]) => names.size > 0)
    .map(([text, names]) => `${text}: ${[...names].sort()}`)
    .sort()

/** Of some readers those that others are not. */
const without = (some: Readers, others: Readers): Readers =>
  new Map(
    [...some].map(([text, names]) => [
      text,
      new Set([...names].filter((name) => others.get(text)?.has(name) !== true)),
    ]),
  )

/** Who could ever read which text, as the server said after each change. */
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
export function interrupted<T extends object>(target: T, between: (call: string) => Promise<void>): T {
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

/** What a random driver works with. */
export interface DriverDeps {
  readonly world: DrivenWorld
  readonly remit: IngestWorld
  readonly random: Random
  /** Begins every id of the source. */
  readonly prefix: string
  /** The source as a new process would open it; `between` is called where others could do something. */
  open(between: (call: string) => Promise<void>): Source
  /** Default: one for a source with few calls. */
  readonly pace?: Pace
  /** Whether less may be found than the server shows, where the source names this problem. Default: never. */
  readonly hidesMore?: (problem: { readonly name?: string | undefined }) => boolean
}

/** How much happens while a sync runs. */
export interface Pace {
  /** A sync that is killed is killed at one of so many first calls. */
  readonly killWithin: number
  /** Chance of a change at each call. */
  readonly change: number
  /** Chance of a look at what Remit lets read. */
  readonly look: number
}

// What is throttled at random may be so again and again.
const attemptsMax = 40

const fewCalls: Pace = { killWithin: 10, change: 0.15, look: 0.05 }

/** What a driver's worlds held. */
export interface Driven {
  /** Pairs of a person and a text. */
  compared: number
  readable: number
  /** At what Remit lets read, while a sync runs. */
  looks: number
  killed: number
  /** Changes while a sync runs. */
  raced: number
  lostCursors: number
}

/** Lets things change before and during syncs, which may be killed, and compares once all is settled. */
export function openDriver(dependencies: DriverDeps) {
  const { world, remit, random, prefix, open, pace = fewCalls, hidesMore = () => false } = dependencies
  const seen: Driven = { compared: 0, readable: 0, looks: 0, killed: 0, raced: 0, lostCursors: 0 }
  const ledger = new Ledger()
  const lags: number[] = []
  let hidden = 0
  const done: string[] = []
  const state = memoryState()
  let between = async (_call: string): Promise<void> => undefined
  /** What one process calls. */
  function live() {
    const life: Life = { isOver: false }
    const step = async (call: string): Promise<void> => {
      if (life.isOver) throw new Killed()
      await between(call)
    }
    const source = withLoads(open(step), step)
    return {
      life,
      source,
      writer: interrupted(ingestWriter(remit, prefix), step),
      state: interrupted(state, step),
    }
  }
  let process = live()

  // Items are loaded several at a time: the server is asked of each change before the next one.
  const changes = createSerialQueue()
  const change = (): Promise<void> =>
    changes.run(async () => {
      done.push(await world.change(random))
      ledger.add(await world.readers())
    })

  async function look(when: string): Promise<void> {
    seen.looks += 1
    const found = await readersIn(remit, world)
    expect(ledger.leaks(found), `${when}:\n${done.slice(-30).join('\n')}`).toEqual([])
  }

  /** A sync during which things change, and which may be killed at any call. */
  async function raced(isKilled = random.chance(0.5)): Promise<void> {
    const killAt = isKilled ? random.below(pace.killWithin) : Number.POSITIVE_INFINITY
    let calls = 0
    between = async (call) => {
      calls += 1
      if (calls > killAt) {
        process.life.isOver = true
        throw new Killed()
      }
      if (random.chance(pace.change)) {
        done.push(`(${call})`)
        await change()
        seen.raced += 1
      }
      if (random.chance(pace.look)) await look(call)
    }
    const { source, writer, state: mortal } = process
    try {
      await syncOnce(source, writer, mortal)
    } catch (error) {
      if (error instanceof Killed) {
        seen.killed += 1
        done.push('(killed)')
        process = live()
        if (random.chance(0.3)) await remit.kill()
      } else if (!isOutage(error)) throw error
    } finally {
      between = async () => undefined
    }
    // Of a call that nobody waits for any more.
    await changes.run(async () => undefined)
    await look('after a sync')
  }

  /** Whether the source says that it hides more than the server does. */
  async function settle(): Promise<boolean> {
    let hides = false
    let failed: readonly unknown[] = ['nothing was read']
    for (let attempt = 0; attempt < attemptsMax && failed.length > 0; attempt += 1) {
      try {
        const { directory, ...report } = await syncOnce(process.source, process.writer, process.state)
        failed = report.failed.filter(({ id }) => id !== undefined)
        hides = report.failed.some(hidesMore)
        failed = [...failed, ...(directory?.failed ?? []), ...(directory?.closed ?? [])]
      } catch (error) {
        if (!isOutage(error)) throw error
        failed = [error]
        await new Promise((resolve) => setTimeout(resolve, 500))
      }
    }
    expect(failed, done.slice(-30).join('\n')).toEqual([])
    return hides
  }

  return {
    seen,
    /** ms from the last change until a sync that tells of it has ended. */
    lagP99: () => lags.toSorted((a, b) => a - b)[Math.ceil(lags.length * 0.99) - 1],
    /** Steps after which the source named what it hides: nothing was held against being found. */
    hiddenSteps: () => hidden,
    /** The first two do what chance might leave out. Gives who may read what by the server's own answers. */
    async step(index: number): Promise<Readers> {
      for (let count = 1 + random.below(5); count > 0; count -= 1) await change()
      if (index === 1 || random.chance(0.15)) {
        seen.lostCursors += 1
        done.push('(lost cursor)')
        await state.apply({ cursor: null })
      }
      if (index < 2 || random.chance(0.6)) await raced(index === 0 || undefined)
      const began = performance.now()
      const hides = await settle()
      lags.push(Math.round(performance.now() - began))
      const [found, expected] = [await readersIn(remit, world), await world.readers()]
      if (hides) {
        hidden += 1
        expect(asText(without(found, expected)), done.slice(-30).join('\n')).toEqual([])
      } else expect(asText(found), done.slice(-30).join('\n')).toEqual(asText(expected))
      seen.compared += world.people.length * expected.size
      for (const names of expected.values()) seen.readable += names.size
      return expected
    },
  }
}
