import type { Principal, Scope } from '../kernel/principal.ts'
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
}

export function createCall(principal: Principal, deadline: Deadline): Call {
  return {
    principal,
    deadline,
    lacking(scopes) {
      const isHeld = scopes.every((scope) => principal.scopes.has(scope))
      const [first, ...others] = new Set([...principal.scopes, ...scopes])
      return isHeld || first === undefined ? undefined : [first, ...others]
    },
  }
}
