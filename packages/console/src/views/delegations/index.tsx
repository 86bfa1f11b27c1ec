import type { Section } from '../../section.ts'
import { inputsOf } from '../why/ask-form.tsx'
import { Delegation } from './delegation.tsx'
import { Delegations } from './list.tsx'

/** `/delegations?subject=…&agent=…&state=…`, and `/delegations/{id}`. */
export const delegationViews: Section = {
  path: '/delegations',
  title: 'Delegations',
  roles: ['security.read'],
  show: ({ query }, [id]) => {
    if (id !== undefined) return <Delegation key={id} id={id} />
    const inputs = inputsOf(query, ['subject', 'agent', 'state'])
    return <Delegations key={JSON.stringify(inputs)} inputs={inputs} />
  },
}
