import type { Section } from '../../section.ts'
import { Action } from './action.tsx'
import { Search } from './search.tsx'

/** The record, and everything of one action. */
export const recordViews: Section = {
  path: '/record',
  title: 'Record',
  roles: ['security.read'],
  show: ({ query }, [txn]) => (txn === undefined ? <Search query={query} /> : <Action key={txn} txn={txn} />),
}
