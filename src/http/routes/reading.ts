import type { DecisionEvent } from '@remit/contract/decision-event'
import type { replicaSchema } from '@remit/contract/explain'
import type { z } from 'zod'
import type { RecordActor } from '../../audit/record.ts'
import type { NeverHere, NotHere } from '../../authz/explain/never-here.ts'
import type { ReplicaState } from '../../authz/explain/replica.ts'
import type { Principal } from '../../kernel/principal.ts'
import type { RequireBearer } from '../middleware/bearer.ts'
import { jsonBody } from '../middleware/json.ts'
import { assertAdministrator, type IsAdministrator } from './writing.ts'

/** Puts on record who looks. */
export type OnRecord = (asker: RecordActor, looked: DecisionEvent) => Promise<void>

/**
 * What stands before the questions of security teams: a person with `security.read`, in scope and in role.
 */
export interface Reading {
  readonly asReader: ReturnType<typeof middlewareOf>
  /** The same, of a request without a body. */
  readonly asGetReader: readonly [ReturnType<RequireBearer>]
  readonly assertReader: (principal: Principal) => Promise<void>
}

/** Who may read, and which ids were never here. */
export interface Asking extends Reading {
  readonly neverHere: NeverHere
}

/** Ids that this service has never had, each with similar ones, as JSON. */
export const neverHereToWire = ({ ids, alike }: NotHere) => ({
  never_here: [...ids],
  did_you_mean: Object.fromEntries([...alike].map(([id, similarIds]) => [id, [...similarIds]])),
})

/** How a reader is recognized. `now` is in milliseconds since the epoch. */
export interface ReadingDeps {
  readonly requireBearer: RequireBearer
  /** Of the role `security.read`. */
  readonly isReader: IsAdministrator
  readonly now: () => number
}

const bodyBytesMax = 16 * 1024

const readerOf = (requireBearer: RequireBearer) =>
  requireBearer({ kinds: ['person'], scopes: ['security.read'] })

const middlewareOf = (requireBearer: RequireBearer) =>
  [readerOf(requireBearer), ...jsonBody(bodyBytesMax)] as const

/** The checks before every question of security teams. */
export const createReading = ({ requireBearer, isReader, now }: ReadingDeps): Reading => ({
  asReader: middlewareOf(requireBearer),
  asGetReader: [readerOf(requireBearer)],
  assertReader: (principal) => assertAdministrator(principal, isReader, now()),
})

/** State of the tuple replica as JSON. */
export const replicaToWire = ({ state, lagMs }: ReplicaState): z.output<typeof replicaSchema> => ({
  state,
  lag_ms: lagMs,
})
