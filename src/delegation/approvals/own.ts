import type { FgaObject } from '../../kernel/ids.ts'
import type { ApprovalGrant } from '../lending/approval-grant.ts'
import type { Lendables } from '../lending/lendable.ts'
import type { Agents } from '../registry/agents.ts'
import type { ShowCall, ShownCall } from '../vault/own-connections.ts'
import type { Approval } from './approval.ts'
import type { Approvals } from './approvals.ts'
import type { Block } from './blocks.ts'
import type { ApprovalGrants } from './grants.ts'
import type { ShownApproval } from './view.ts'

/** Everything that one person has to do with approvals, as their page shows it. */
export interface OwnApprovals {
  list(subject: FgaObject): Promise<OwnApprovalList>
  /** Another person's is undefined, as one that does not exist. */
  one(subject: FgaObject, id: string): Promise<OwnApproval | undefined>
}

/** What one person's page lists; each list newest first. */
export interface OwnApprovalList {
  readonly open: readonly ListedApproval[]
  /** Decided or over, of the last 7 days. */
  readonly recent: readonly ListedApproval[]
  readonly grants: readonly ShownGrant[]
  readonly blocked: readonly Block[]
}

/** An approval with its agent's title, or the agent's id where it has none. */
export interface ListedApproval extends Approval {
  readonly agentTitle: string
}

/** One approval in full, for the page on which it is decided. */
export interface OwnApproval {
  readonly shown: ShownApproval
  /** Of what asks for one. */
  readonly call: ShownCall | undefined
  /** What came of a yes, while it counts. */
  readonly grant: ShownGrant | undefined
}

/** A grant as its person sees it. */
export interface ShownGrant extends ApprovalGrant {
  readonly agentTitle: string
  /** Titles only of what they may read now: of anything else it is none of their business. */
  readonly items: readonly { readonly object: FgaObject; readonly title: string | undefined }[]
}

export interface OwnApprovalsDeps {
  readonly approvals: Pick<Approvals, 'mine' | 'oneOfMine' | 'blocks'>
  readonly grants: Pick<ApprovalGrants, 'listOf'>
  readonly lendables: Pick<Lendables, 'among'>
  readonly agents: Pick<Agents, 'get'>
  readonly showCall: ShowCall
}

/** Adds titles to what the tables hold. Does NOT check that the caller is the person. */
export function createOwnApprovals(deps: OwnApprovalsDeps): OwnApprovals {
  const { approvals, grants, lendables, agents, showCall } = deps

  async function titlesOf(ids: readonly string[]): Promise<(id: string) => string> {
    const found = await Promise.all([...new Set(ids)].map((id) => agents.get(id)))
    const titles = new Map(found.flatMap((agent) => (agent === undefined ? [] : [[agent.id, agent.title]])))
    return (id) => titles.get(id) ?? id
  }

  async function shownGrants(subject: FgaObject, grantList: readonly ApprovalGrant[]): Promise<ShownGrant[]> {
    if (grantList.length === 0) return []
    const [readable, titleOf] = await Promise.all([
      lendables.among(
        subject,
        grantList.flatMap(({ objects }) => objects),
      ),
      titlesOf(grantList.map(({ agent }) => agent)),
    ])
    return grantList.map((grant) => ({
      ...grant,
      agentTitle: titleOf(grant.agent),
      items: grant.objects.map((object) => ({ object, title: readable.get(object)?.title })),
    }))
  }

  return {
    async list(subject) {
      const [{ open: openApprovals, recent }, liveGrants, blocked] = await Promise.all([
        approvals.mine(subject),
        grants.listOf(subject),
        approvals.blocks.of(subject),
      ])
      const titleOf = await titlesOf([...openApprovals, ...recent].map(({ agent }) => agent))
      const listed = (approval: Approval): ListedApproval => ({
        ...approval,
        agentTitle: titleOf(approval.agent),
      })
      return {
        open: openApprovals.map(listed),
        recent: recent.map(listed),
        grants: await shownGrants(subject, liveGrants),
        blocked,
      }
    },
    async one(subject, id) {
      const approval = await approvals.oneOfMine(subject, id)
      if (approval === undefined) return undefined
      const { asked: access, grant: grantId } = approval
      const liveGrants =
        grantId === undefined
          ? []
          : (await grants.listOf(subject)).filter(({ id: grant }) => grant === grantId)
      const [[grant], call] = await Promise.all([
        shownGrants(subject, liveGrants),
        access.kind === 'vault_call' ? showCall(subject, access) : undefined,
      ])
      return { shown: approval, call, grant }
    },
  }
}
