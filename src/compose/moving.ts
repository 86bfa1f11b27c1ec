import type { Fga } from '../authz/fga.ts'
import { typesEver } from '../authz/model/pin.ts'
import { createPersonMove, type PersonMove } from '../delegation/administration/person-move.ts'
import type { Barring } from '../delegation/people/sign-in-ends.ts'
import type { Ingest } from '../ingest/ingest.ts'
import type { Authz } from './authz.ts'
import type { ComposeContext } from './context.ts'
import type { DelegationPart } from './delegation.ts'

/** What a person's move changes: tuples, delegations and documents. */
export interface MovingDeps extends Pick<ComposeContext, 'database' | 'clock' | 'newTxn'> {
  readonly fga: Fga
  readonly authz: Pick<Authz, 'allowList'>
  readonly delegation: Pick<DelegationPart, 'people' | 'persons' | 'delegations'>
  readonly barring: Barring
  readonly ingest: Ingest
}

/** Moves a person to another key, in every part that holds one. */
export const createMoving = ({ authz, delegation, ingest, ...dependencies }: MovingDeps): PersonMove =>
  createPersonMove({
    ...dependencies,
    ...delegation,
    isStorable: (tuple) => authz.allowList().isStorable(tuple),
    types: () => typesEver(dependencies.database),
    tags: { count: ingest.countTags, rename: ingest.renameSubject },
  })
