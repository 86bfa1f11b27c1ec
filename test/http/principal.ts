import type { Principal } from '../../src/kernel/principal.ts'

export const principal: Principal = {
  kind: 'person',
  subject: 'user:anne',
  actors: [],
  client: 'pages',
  scopes: new Set(['docs.search', 'docs.read']),
  authorizationDetails: [],
  txn: 't_token',
  expiresAt: 0,
}
