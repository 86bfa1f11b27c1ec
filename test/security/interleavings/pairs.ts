import type { Pair } from '../../support/interleavings.ts'
import type { ProviderDouble } from '../../support/provider.ts'
import {
  type DocumentPair,
  forgetsTheFence,
  movesBesideLeases,
  openDocuments,
  takesEveryLease,
} from './documents.ts'
import { looksBeforeItCounts, openGrants, waitsForNoUse } from './grants.ts'
import type { Plant, Two } from './two.ts'
import { openRefreshes, refreshesBesideOthers } from './vault.ts'

/** Two workers beside each other, the race that is planted in them, and what the oracle says of that. */
export interface NamedPair {
  readonly name: string
  open(two: Two, double: ProviderDouble): Promise<Pair>
  readonly plant: Plant
  readonly says: string
}

/** All but the one that takes whole services: `openExchange`. */
export const pairs: readonly NamedPair[] = [
  {
    name: 'grant used × used',
    open: (two) => openGrants(two, 'use'),
    plant: looksBeforeItCounts,
    says: 'released 2 times',
  },
  {
    name: 'grant used × taken back',
    open: (two) => openGrants(two, 'revoke'),
    plant: looksBeforeItCounts,
    says: 'used after',
  },
  {
    name: 'grant used × its delegation taken back',
    open: (two) => openGrants(two, 'revoke delegation'),
    plant: waitsForNoUse,
    says: 'used after',
  },
  ofDocuments('publish × withdraw', 'its withdrawal'),
  ofDocuments('publish × re-tag', 'taken away'),
  ofDocuments('publish × publish', ''),
  ofDocuments('publish × restrict', 'kept from it'),
  ofDocuments('publish × move', 'kept from reading is', movesBesideLeases),
  ofDocuments('put × re-tag', 'taken away'),
  ofDocuments('re-tag × withdraw', 'its withdrawal'),
  ofDocuments('settle × withdraw', 'its withdrawal', forgetsTheFence),
  { name: 'refresh × refresh', open: openRefreshes, plant: refreshesBesideOthers, says: 'refreshed 2 times' },
]

function ofDocuments(name: DocumentPair, says: string, plant = takesEveryLease): NamedPair {
  return { name, open: async (two) => (await documentsOf(two))(name), plant, says }
}

const opened = new WeakMap<Two, ReturnType<typeof openDocuments>>()

function documentsOf(two: Two): ReturnType<typeof openDocuments> {
  const documents = opened.get(two) ?? openDocuments(two)
  opened.set(two, documents)
  return documents
}
