import type { Party } from '../../delegation/vault/agreements.ts'
import { invalid } from '../../kernel/errors.ts'

/** An agent and its client as one value of a form. */
export const partyValue = ({ agent, client }: Party): string =>
  `${encodeURIComponent(agent)} ${encodeURIComponent(client)}`

/** What the page wrote; 422 for anything else. */
export function partyOf(value: string): Party {
  const [agent = '', client = '', ...excess] = value.split(' ').map(decoded)
  if (agent === '' || client === '' || excess.length > 0) throw invalid('agents', 'Choose who may use it.')
  return { agent, client }
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    // Not what our page wrote: then it is nobody's.
    return ''
  }
}
