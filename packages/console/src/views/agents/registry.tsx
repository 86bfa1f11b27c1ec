import type { Agent } from '@remit/contract/agents'

/** Whether an agent is enabled, as a tag. */
export const State = ({ state }: Pick<Agent, 'state'>) => (
  <span class={state === 'enabled' ? 'tag' : 'tag bad'}>{state}</span>
)
