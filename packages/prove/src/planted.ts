import type { Canary, CanaryDocument } from './adapter.ts'
import { each, Inconclusive, type Session, type TimedAnswer, until } from './session.ts'

/** Invented documents of one run. Whatever happens, all of them go at its end. */
export interface Planted {
  readonly asker: string
  readonly owner: string
  /** A name that no document had. */
  name(): string
  put(document: Omit<CanaryDocument, 'title'>): Promise<void>
  putAll(documents: readonly Omit<CanaryDocument, 'title'>[]): Promise<void>
  setReaders(document: string, readers: readonly string[]): Promise<void>
  remove(document: string): Promise<void>
  /** Waits until this person finds it by the question. */
  awaitFound(person: string, query: string, document: string): Promise<void>
}

const plantings = new WeakMap<Session, { planted: Planted; removeAll: () => Promise<void> }>()

export function plantedOf(session: Session): Planted {
  return plantingOf(session).planted
}

/** Removes what the run planted, and tells what could not be removed. */
export async function removePlanted(session: Session): Promise<void> {
  await plantings.get(session)?.removeAll()
}

function plantingOf(session: Session) {
  const known = plantings.get(session)
  if (known !== undefined) return known
  const { adapter, canaryPeople, run, sizes } = session
  const canary = adapter.canary
  if (canary === undefined || canaryPeople === undefined) throw new Error('Nothing can be planted here.')
  const [asker, owner] = canaryPeople
  const standing = new Set<string>()
  let drawn = 0

  const put: Planted['put'] = async (document) => {
    // Before it is sent: also what was accepted without an answer has to go.
    standing.add(document.id)
    await canary.put({ ...document, title: 'Canary' })
  }
  const planted: Planted = {
    asker,
    owner,
    name() {
      drawn += 1
      // All as long as each other: an answer may repeat them.
      return `prove-${run}-${session.random.word()}${String(drawn).padStart(6, '0')}`
    },
    put,
    putAll: (documents) => each(documents, sizes.concurrency, put),
    setReaders: (document, readers) => canary.setReaders(document, readers),
    async remove(document) {
      await canary.remove(document)
      standing.delete(document)
    },
    async awaitFound(person, query, document) {
      let tries = 0
      // Blanks at its end, another number of them each time: whatever remembers answers has not this one.
      const isThere = async () => {
        tries += 1
        return holds(await session.ask(person, `${query}${' '.repeat(tries)}`), document)
      }
      if (!(await until(isThere, sizes.patienceMs)))
        throw new Inconclusive(
          `What was planted, and its owner may read, was not found in ${sizes.patienceMs / 1000} s.`,
        )
    },
  }
  const planting = { planted, removeAll: () => removeAll(canary, standing, sizes.concurrency) }
  plantings.set(session, planting)
  return planting
}

async function removeAll(canary: Canary, standing: Set<string>, concurrency: number): Promise<void> {
  const left: unknown[] = []
  await each([...standing], concurrency, (document) =>
    canary.remove(document).then(
      () => void standing.delete(document),
      (error: unknown) => void left.push(error),
    ),
  )
  if (left.length > 0)
    throw new AggregateError(left, `${left.length} planted documents could not be removed: ${[...standing]}`)
}

export const holds = (answer: TimedAnswer, document: string): boolean =>
  answer.passages.some((passage) => passage.document === document)
