import type { Corpus } from '../corpus.ts'
import type { Place, Servers } from '../servers.ts'
import type { openStore } from '../tuples.ts'
import type { World } from '../worlds/world.ts'
import type { Labels } from './labels.ts'
import type { Peer, Way } from './way.ts'

/** What a peer that brings servers of its own is opened with. */
export interface Opening {
  readonly place: Place
  readonly servers: Servers
  readonly corpus: Corpus
  readonly world: World
  readonly labels: Labels
  readonly store: Awaited<ReturnType<typeof openStore>>
  /** The smallest `ef_search` with which the raw search finds 99 of a hundred. */
  readonly ef99: number
  readonly env: NodeJS.ProcessEnv
}

export interface OpenedPeer extends AsyncDisposable {
  readonly ways: readonly Way<Peer>[]
}

/** Opens its ways, or says what they lack here. */
export type OpenPeer = (opening: Opening) => Promise<OpenedPeer | string>
