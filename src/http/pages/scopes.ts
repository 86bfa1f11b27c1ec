/** Our scopes in words; another's as it is written there. */
export const sayScopes = (scopes: readonly string[]): string => {
  const meaningsOfScopes = scopes.map((scope) => meanings[scope] ?? scope)
  return meaningsOfScopes.length < 2
    ? meaningsOfScopes.join('')
    : `${meaningsOfScopes.slice(0, -1).join(', ')} and ${meaningsOfScopes.at(-1) ?? ''}`
}

const meanings: Readonly<Record<string, string>> = {
  'docs.search': 'search',
  'docs.read': 'read whole documents',
  'approvals.request': 'ask you to approve single sensitive documents',
  'vault.use': 'use the accounts that you have connected',
  'agents.write': 'register and disable agents',
  'security.read': 'look at the security records',
  'security.write': 'change security settings',
}
