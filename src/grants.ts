import {
  type ApprovalGrants,
  type ApprovalGrantsDeps,
  createApprovalGrants,
} from './delegation/approvals/grants.ts'
import { createOffers, type Offers } from './delegation/approvals/offers.ts'

/** What an agent is offered beside what was lent, and what came of its person's yes. */
export interface Grants {
  readonly approvalGrants: ApprovalGrants
  readonly offers: Offers
  /** To be run every hour. */
  readonly tasks: Readonly<Record<string, () => Promise<unknown>>>
}

export function createGrants(deps: ApprovalGrantsDeps): Grants {
  const approvalGrants = createApprovalGrants(deps)
  const offers = createOffers({ ...deps, sql: deps.database })
  return {
    approvalGrants,
    offers,
    tasks: { approval_grants: () => approvalGrants.mend(), offers: () => offers.sweep() },
  }
}
