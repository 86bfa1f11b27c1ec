import type { Replica } from '@remit/contract/explain'

const states: Readonly<Record<Replica['state'], string>> = {
  ready: '',
  building: 'The index is being built: there is nothing to show from it yet.',
  behind: 'The index is behind OpenFGA: what is shown from it may be old.',
  other_model: 'The index follows another model than the one in force.',
}

/** Nothing where the replica holds what OpenFGA holds. */
export const ReplicaNote = ({ replica: { state, lag_ms: lagMs } }: { readonly replica: Replica }) =>
  state === 'ready' ? null : (
    <p class="warn" role="status">
      {states[state]} Last read {Math.round(lagMs / 100) / 10} s ago.
    </p>
  )
