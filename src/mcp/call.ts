import { type Agents, withinLimits } from '../delegation/registry/agents.ts'
import { agentOf, type Principal, type Scope } from '../kernel/principal.ts'
import type { Deadline } from '../retrieval/deadline.ts'

/** One request at the door: who asks, verified and admitted, and until when it is answered. */
export interface Call {
  readonly principal: Principal
  readonly deadline: Deadline
  /**
   * What is missing of these scopes, as the set to ask for: with what the token holds already, since a client that
   * asks for exactly what it is told would otherwise lose the rest. Undefined: nothing is missing.
   */
  lacking(scopes: readonly Scope[]): readonly [Scope, ...Scope[]] | undefined
  /**
   * Whether the limits of the agent that speaks leave one of them out, so that no consent gives it. Not asked of those that
   * it speaks through: their limits are not for it to know.
   */
  isBeyond(scopes: readonly Scope[]): Promise<boolean>
}

export function createCall(principal: Principal, deadline: Deadline, agents: Pick<Agents, 'get'>): Call {
  return {
    principal,
    deadline,
    lacking(scopes) {
      const isHeld = scopes.every((scope) => principal.scopes.has(scope))
      const [firstScope, ...otherScopes] = new Set([...principal.scopes, ...scopes])
      return isHeld || firstScope === undefined ? undefined : [firstScope, ...otherScopes]
    },
    async isBeyond(scopes) {
      const id = agentOf(principal)
      const agent = id === undefined ? undefined : await agents.get(id)
      return agent !== undefined && withinLimits(scopes, [agent.limits]).length < scopes.length
    },
  }
}
