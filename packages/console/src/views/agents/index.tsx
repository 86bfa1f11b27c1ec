import type { Section } from '../../section.ts'
import { OneAgent } from './agent.tsx'
import { Agents } from './list.tsx'

/** The agents, and one of them. */
export const agentViews: Section = {
  path: '/agents',
  title: 'Agents',
  roles: ['agents.write', 'security.read'],
  show: ({ query }, [id]) =>
    id === undefined ? <Agents /> : <OneAgent key={id} id={id} endTime={query.get('until') ?? undefined} />,
}
