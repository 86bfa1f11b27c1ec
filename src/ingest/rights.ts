import type { Fga } from '../authz/fga.ts'
import { AppError } from '../kernel/errors.ts'
import { collectionObject, type FgaObject } from '../kernel/ids.ts'

/** What a service may do in collections, as OpenFGA said. */
export interface Rights {
  /** Whether the service holds the relation on the collection, asked of OpenFGA now. */
  has(relation: 'writer' | 'tagger', collection: string): boolean
}

/** A right to ask about. */
export interface Holding {
  readonly relation: 'writer' | 'tagger'
  readonly collection: string
}

/** Asks OpenFGA about all of these at once, bypassing caches. An item without an answer throws 503. */
export async function askRights(
  fga: Fga,
  subject: string,
  holdings: readonly Holding[],
  now: number,
): Promise<Rights> {
  const distinct = [
    ...new Map(holdings.map((holding) => [`${holding.relation} ${holding.collection}`, holding])).entries(),
  ]
  const { verdicts } = await ask(
    fga,
    distinct.map(([, { relation, collection }]) => ({
      user: subject,
      relation,
      object: collectionObject(collection),
    })),
    now,
  )
  const heldKeys = new Set(distinct.flatMap(([key], index) => (verdicts[index] === true ? [key] : [])))
  return { has: (relation, collection) => heldKeys.has(`${relation} ${collection}`) }
}

/** A collection that is not there is refused like one that the service may not write to. */
export const mayNotWrite = (): AppError =>
  new AppError('forbidden', {
    field: 'collection',
    public:
      'This service may not write to a collection of this id. Check how it is spelled, and whether the service is among its writers: at the machine `remit service list` shows it.',
  })

/** Which of these objects are sensitive, by themselves or by where they stand. */
export async function askSensitive(
  fga: Fga,
  objects: readonly FgaObject[],
  now: number,
): Promise<ReadonlySet<string>> {
  const distinct = [...new Set(objects)]
  const { verdicts } = await ask(
    fga,
    distinct.map((object) => ({ user: 'user:*', relation: 'sensitive', object })),
    now,
  )
  return new Set(distinct.filter((_, index) => verdicts[index] === true))
}

async function ask(
  fga: Fga,
  checks: readonly { readonly user: string; readonly relation: string; readonly object: FgaObject }[],
  now: number,
): Promise<{ readonly verdicts: readonly boolean[] }> {
  if (checks.length === 0) return { verdicts: [] }
  const { verdicts } = await fga.batchCheck(checks, { now })
  // Neither right nor lack of it was shown: to go on either way would be a guess.
  if (verdicts.length !== checks.length || verdicts.includes('error')) {
    throw new AppError('authorization_unavailable', { internal: 'OpenFGA left a check without an answer' })
  }
  return { verdicts: verdicts.map((verdict) => verdict === 'allowed') }
}
