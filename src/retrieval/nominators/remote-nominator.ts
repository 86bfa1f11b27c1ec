import { questionFor } from '../../authz/gate.ts'
import type { Nominator } from '../../authz/nominate.ts'
import { AppError } from '../../kernel/errors.ts'
import type { Sights } from '../access-filter/sights.ts'

/** Names documents by what nominators see. Throws where none answers: OpenFGA's own list may be cut short. */
export const createRemoteNominator = (sights: Sights): Nominator => ({
  async nominate(principal, { signal, grants }) {
    const { snapshots, isWhole } = await sights.of([questionFor(principal, grants)], signal)
    const [snapshot] = snapshots
    if (snapshot === undefined)
      throw new AppError('authorization_unavailable', { internal: 'the model has no such relation' })
    const { content, documents } = snapshot
    const documentIds = [...content.docNos()].flatMap((docNo) => documents.idOf(docNo) ?? [])
    return { documentIds, complete: isWhole }
  },
})
