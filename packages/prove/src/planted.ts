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

const plantings = new WeakMap<Session, { planted: Planted; removeAll: () => Promise<readonly string[]> }>()

export function plantedOf(session: Session): Planted {
  return plantingOf(session).planted
}

/** Removes what the run planted; what could not be removed comes back. */
export const removePlanted = async (session: Session): Promise<readonly string[]> =>
  (await plantings.get(session)?.removeAll()) ?? []

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
    await canary.put({ ...document, title: 'Canary' }, session.mark())
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
    setReaders: (document, readers) => canary.setReaders(document, readers, session.mark()),
    async remove(document) {
      await canary.remove(document, session.mark())
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
  const planting = { planted, removeAll: () => removeAll(session, canary, standing) }
  plantings.set(session, planting)
  return planting
}

async function removeAll(
  { sizes, mark }: Session,
  canary: Canary,
  standing: Set<string>,
): Promise<readonly string[]> {
  await each([...standing], sizes.concurrency, (document) =>
    canary.remove(document, mark()).then(
      () => void standing.delete(document),
      () => undefined,
    ),
  )
  return [...standing]
}

export const holds = (answer: TimedAnswer, document: string): boolean =>
  answer.passages.some((passage) => passage.document === document)
