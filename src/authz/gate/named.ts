import { setTimeout as delay, setImmediate } from 'node:timers/promises'
import { AppError } from '../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import { batchMax, type Check, type Fga, type Verdict } from '../fga.ts'
import type { LocalChecks, LocalReplica, RemovalWatch } from '../permission-index.ts'
import type { Limiter } from './limiter.ts'
import { hasTail, isRecent } from './precheck.ts'
import { untilAtTail } from './tail.ts'
import { runUntilAborted } from './until.ts'
import type { VerdictCache } from './verdict-cache.ts'

/** What is asked about objects that the caller names, for one user. */
export interface NamedQuestion extends Pick<Check, 'user' | 'contextual'> {
  /** An object may stand here with several relations: all of them are asked about, or none. */
  readonly asked: readonly Pick<Check, 'relation' | 'object'>[]
  /** Asked about although the replica refuses them. */
  readonly granted?: ReadonlySet<FgaObject>
  readonly signal?: AbortSignal
}

/** The verdicts, with what the record keeps of the calls. */
export interface NamedAnswer {
  /** In the order asked. undefined: not asked. Whatever is not `allowed` is a no. */
  readonly verdicts: readonly (Verdict | undefined)[]
  /** OpenFGA's X-Request-Id of each call made. */
  readonly requestIds: readonly string[]
  /** Sent to OpenFGA, the decoys among them; in how many calls. */
  readonly checks: number
  readonly calls: number
}

/**
 * Asks OpenFGA about objects that the caller names itself, as it is now, so that neither the answer nor its
 * time tells what is hidden from what never was. See docs/decisions/0034-named-objects.md.
 *
 * OpenFGA reads nothing for an object that never was, and every folder and group for one that is hidden. So
 * all callers wait for a check about decoys, which is sent at once; within its time the object is looked up
 * (by the caller) and the replica is asked about it, there or not. What the replica refuses while it has the
 * tail, and what is not there, OpenFGA is not asked about: then the decoys are the only check. Without the
 * tail it is asked about every object beside the decoys.
 */
export type AskNamed = (question: NamedQuestion) => NamedAsking

/** A question that waits to be told which of its objects are there. */
export interface NamedAsking {
  /**
   * `isThere`: whether there is such a thing within what the caller's token is for; it must have been found
   * out by the same statements for every object. Throws where OpenFGA as a whole does not answer, whatever
   * was asked about.
   */
  answer(isThere?: (object: FgaObject) => boolean): Promise<NamedAnswer>
}

/** What a replica elsewhere would let through, and how far it has heard. It decides nothing. */
export interface Foreseen {
  /** For each object, in the order asked. */
  readonly allowed: readonly boolean[]
  /** By our clock: it had heard of all that OpenFGA held then. */
  readonly heardUntil: number | undefined
}

/** Asks a replica elsewhere. Rejects where none answers. */
export type Foresee = (
  named: Pick<NamedQuestion, 'user' | 'contextual' | 'asked' | 'signal'>,
) => Promise<Foreseen>

/** OpenFGA decides. `randomBytes` makes the names of decoys, which must not be guessed. */
export interface NamedDeps {
  readonly fga: Fga
  readonly index: LocalReplica & LocalChecks & RemovalWatch
  /** Asked in place of `index`, where this process has no replica. */
  readonly foresee?: Foresee | undefined
  readonly verdictCache: VerdictCache
  readonly limiter: Limiter
  readonly now: () => number
  readonly randomBytes: (size: number) => Buffer
}

// The replica is asked about so many at a time, so that no request holds the process.
const lookMax = 200
// A mark is written every 300 ms while anybody asks.
const foreseeMs = 500
const lookMs = 50

/** Makes the asker. It sends decoys, so that OpenFGA is called whether or not an object is there. */
export function createAskNamed(dependencies: NamedDeps): AskNamed {
  const { fga, index, foresee, verdictCache, limiter, now, randomBytes } = dependencies
  return ({ user, contextual, asked: namedObjects, granted = new Set(), signal }) => {
    const { modelId } = fga
    const decoys = decoysFor(namedObjects, randomBytes)
    // Nobody waits for it yet.
    const decoysAnswer = send(decoys).then(
      (answer) => () => answer,
      (error: unknown) => () => {
        throw error
      },
    )

    // About every object, before it is known which are there.
    const foreseen = (foresee && foreseeAtTail(foresee))?.then(
      (answer) => () => answer,
      (error: unknown) => () => {
        throw error
      },
    )

    /** Else OpenFGA would have to be asked about what is hidden, which takes longer than about nothing. */
    async function foreseeAtTail(foresee: Foresee): Promise<Foreseen> {
      const question = {
        user,
        ...(contextual && { contextual }),
        asked: namedObjects,
        ...(signal && { signal }),
      }
      for (let remainingMs = foreseeMs; ; remainingMs -= lookMs) {
        const answer = await foresee(question)
        if (isCurrentBy(answer) || remainingMs <= 0) return answer
        await delay(lookMs, undefined, signal && { signal })
      }
    }

    const isCurrentBy = ({ heardUntil }: Foreseen): boolean =>
      isRecent(heardUntil, now()) && (heardUntil ?? 0) > verdictCache.wroteAt

    function send(namedObjects: NamedQuestion['asked']) {
      if (namedObjects.length === 0) return Promise.resolve({ verdicts: [], requestIds: [] })
      const checks = namedObjects.map(
        (named): Check => ({ user, ...(contextual && { contextual }), ...named }),
      )
      return runUntilAborted(signal, () =>
        limiter.run(checks.length, signal, () =>
          fga.batchCheck(checks, { now: now(), consistency: 'fresh', ...(signal && { signal }) }),
        ),
      )
    }

    const isAtTail = (): boolean => hasTail({ fga, index, verdictCache }, modelId, now())

    /**
     * Those of the objects that the replica would let through. It is asked for the same whatever it knows.
     */
    function allowedOf(namedObjects: NamedQuestion['asked'], nowMs: number): ReadonlySet<FgaObject> {
      const allowed = new Set<FgaObject>()
      for (const [kind, objects] of Map.groupBy(namedObjects, kindOf)) {
        const { type, relation } = partsOf(kind)
        const ids = objects.map(({ object }) => splitObject(object).id)
        const verdicts = index.evaluate({ user, relation, contextual: contextual ?? [], type }, ids, nowMs)
        for (const { object } of objects)
          if (verdicts?.get(splitObject(object).id)?.allowed === true) allowed.add(object)
      }
      return allowed
    }

    /** What it cannot evaluate OpenFGA cannot either (nested too deep): refused, since to try takes long. */
    async function worthAsking(isThere: (object: FgaObject) => boolean): Promise<ReadonlySet<FgaObject>> {
      const worth = new Set<FgaObject>()
      for (let offset = 0; offset < namedObjects.length; offset += lookMax) {
        if (offset > 0) await setImmediate()
        const namedSlice = namedObjects.slice(offset, offset + lookMax)
        const allowed = allowedOf(namedSlice, now())
        const isCurrent = isAtTail()
        for (const { object } of namedSlice)
          if (!isCurrent || (isThere(object) && (allowed.has(object) || granted.has(object))))
            worth.add(object)
      }
      return worth
    }

    /** The same by a replica elsewhere. */
    function worthBy(answer: Foreseen, isThere: (object: FgaObject) => boolean) {
      const { allowed } = answer
      const isCurrent = isCurrentBy(answer)
      return new Set(
        namedObjects.flatMap(({ object }, number) =>
          !isCurrent || (isThere(object) && (allowed[number] === true || granted.has(object)))
            ? [object]
            : [],
        ),
      )
    }

    async function worthHere(isThere: (object: FgaObject) => boolean): Promise<ReadonlySet<FgaObject>> {
      // Else OpenFGA would have to be asked about what is hidden.
      await untilAtTail(index, isAtTail)
      return await worthAsking(isThere)
    }

    return {
      async answer(isThere = () => true) {
        const worth = foreseen === undefined ? await worthHere(isThere) : worthBy((await foreseen)(), isThere)
        const sent = namedObjects.filter(({ object }) => worth.has(object))
        const ownVerdicts = await send(sent)
        const ofDecoys = (await decoysAnswer)()
        // Another model came into force: one answer under two would be neither's.
        if (fga.modelId !== modelId)
          throw new AppError('authorization_unavailable', { internal: 'model changed' })
        const verdicts = ownVerdicts.verdicts[Symbol.iterator]()
        return {
          verdicts: namedObjects.map(({ object }) =>
            worth.has(object) ? (verdicts.next().value ?? 'error') : undefined,
          ),
          requestIds: [...ofDecoys.requestIds, ...ownVerdicts.requestIds],
          checks: decoys.length + sent.length,
          calls: Math.ceil(decoys.length / batchMax) + Math.ceil(sent.length / batchMax),
        }
      },
    }
  }
}

/** One for each type and relation. Another one each time, so that no cache of OpenFGA's knows it. */
function decoysFor(namedObjects: NamedQuestion['asked'], randomBytes: NamedDeps['randomBytes']) {
  const id = randomBytes(16).toString('base64url')
  return [...new Set(namedObjects.map(kindOf))].map(partsOf).map(({ type, relation }) => ({
    relation,
    object: `${type}:${id}` as FgaObject,
  }))
}

const kindOf = ({ relation, object }: NamedQuestion['asked'][number]): string =>
  `${splitObject(object).type}#${relation}`

function partsOf(kind: string): { readonly type: string; readonly relation: string } {
  const [type = '', relation = ''] = kind.split('#')
  return { type, relation }
}
