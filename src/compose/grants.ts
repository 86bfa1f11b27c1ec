import {
  type ApprovalGrants,
  type ApprovalGrantsDeps,
  createApprovalGrants,
} from '../delegation/approvals/grants.ts'
import { createOffers, type Offers } from '../delegation/approvals/offers.ts'
import { type Approvals, createPresenting, type Presenting } from '../retrieval/approvals.ts'

/** What an agent is offered beside what was lent, and what came of its person's yes. */
export interface Grants {
  readonly approvalGrants: ApprovalGrants
  readonly offers: Offers
  /** As retrieval presents and offers them. */
  readonly approvals: Approvals
  readonly presenting: Presenting
  /** To be run every hour. */
  readonly tasks: Readonly<Record<string, () => Promise<unknown>>>
}

/** Makes the grants that approvals become, and the offers to ask for one. */
export function createGrants(dependencies: ApprovalGrantsDeps): Grants {
  const approvalGrants = createApprovalGrants(dependencies)
  const offers = createOffers({ ...dependencies, sql: dependencies.database })
  const approvals: Approvals = { ...approvalGrants, ...offers, makeOfferWithin: offers.makeWithin }
  return {
    approvalGrants,
    offers,
    approvals,
    presenting: createPresenting({ ...dependencies, approvals }),
    tasks: { approval_grants: () => approvalGrants.mend(), offers: () => offers.sweep() },
  }
}
