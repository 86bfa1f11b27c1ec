import { listCandidates, type Model, relaxModel, type TupleStore } from '@remit/engine'
import { splitObject } from '../../kernel/ids.ts'
import type { Question } from '../gate.ts'
import type { Effect } from './replica.ts'

/** Documents worth asking about, remembered as long as they stay a superset. */
export interface CandidateLists {
  useModel(model: Model): void
  clear(): void
  note(effects: readonly Effect[]): void
  /** undefined: the model has no such relation. */
  nominate(question: Question, tuples: TupleStore, now: number): readonly string[] | undefined
}

interface Entry {
  readonly ids: readonly string[]
  readonly reached: ReadonlySet<string>
  readonly madeAt: number
  /** Something was removed since: still a superset, but perhaps a wide one. */
  isWide: boolean
}

export interface CandidateListsOptions {
  /** Document ids that are kept in all lists together. Default 1 million, which takes about 50 MB. */
  readonly idsMax?: number
  /** Milliseconds after which a list is made anew if something was removed. Default 5 s. */
  readonly wideMs?: number
}

export function createCandidateLists(options: CandidateListsOptions = {}): CandidateLists {
  const { idsMax = 1_000_000, wideMs = 5_000 } = options
  const kept = new Map<string, Entry>()
  let ids = 0
  let relaxed: Model | undefined

  function drop(key: string): void {
    ids -= kept.get(key)?.ids.length ?? 0
    kept.delete(key)
  }

  function keep(key: string, entry: Entry): void {
    kept.set(key, entry)
    ids += entry.ids.length
    // The first is the one that nobody has asked for the longest.
    for (const oldest of kept.keys()) {
      if (ids <= idsMax || oldest === key) break
      drop(oldest)
    }
  }

  function recall(key: string, now: number): readonly string[] | undefined {
    const entry = kept.get(key)
    if (entry === undefined) return undefined
    drop(key)
    if (entry.isWide && now - entry.madeAt > wideMs) return undefined
    keep(key, entry)
    return entry.ids
  }

  function clear(): void {
    kept.clear()
    ids = 0
  }

  return {
    clear,
    useModel(model) {
      relaxed = relaxModel(model)
      clear()
    },
    note(effects) {
      for (const { kind, tuple } of effects) {
        const user = tuple.user.split('#')[0] ?? tuple.user
        for (const [key, entry] of kept) {
          if (kind === 'removed') entry.isWide = true
          else if (entry.reached.has(user)) drop(key)
        }
      }
    },
    nominate(question, tuples, now) {
      const key = JSON.stringify([question.user, question.relation, question.contextual])
      const before = recall(key, now)
      if (before !== undefined) return before
      const relation = relaxed?.types.get('document')?.get(question.relation)
      if (relaxed === undefined || relation === undefined) return undefined
      const { objects, reached } = listCandidates(relaxed, tuples, relation, {
        user: question.user,
        contextualTuples: question.contextual,
      })
      const found = objects.map((object) => splitObject(object as `document:${string}`).id)
      keep(key, { ids: found, reached, madeAt: now, isWide: false })
      return found
    },
  }
}
