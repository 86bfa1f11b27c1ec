/** One row of the registry, as `GET /agents/{id}` gives it. */
export interface Agent {
  readonly id: string
  readonly owner: string
  readonly title: string
  readonly purpose: string
  readonly scopes: readonly string[] | null
  readonly collections: readonly string[] | null
  readonly actor: { readonly issuer: string; readonly sub: string }
  readonly jwks?: { readonly keys: readonly object[] }
  readonly state: 'enabled' | 'disabled'
  readonly disabled_at?: string
}

/** Whether an agent is enabled, as a tag. */
export const State = ({ state }: Pick<Agent, 'state'>) => (
  <span class={state === 'enabled' ? 'tag' : 'tag bad'}>{state}</span>
)
