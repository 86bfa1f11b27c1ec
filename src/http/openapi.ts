import { version } from '../kernel/version.ts'
import type { App } from './env.ts'

const info = {
  title: 'Remit',
  version,
  description:
    'Fine-grained authorized retrieval for AI agents: an agent that asks gets passages that exactly the person it works for may read, within what that person lent it.',
}

/** The contract, generated from the schemas that validate. Committed as `docs/openapi.json` and compared. */
export function openApiOf(app: App): object {
  app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT (RFC 9068, typ at+jwt)',
  })
  app.openAPIRegistry.registerComponent('securitySchemes', 'session', {
    type: 'apiKey',
    in: 'cookie',
    name: 'remit_session',
    description:
      'The person’s own browser (`__Host-remit_session` over https). Changes also need our own `Origin`, `X-CSRF-Token` and a sign-in of at most 15 minutes. With an `Authorization` header it is always 403.',
  })
  return app.getOpenAPI31Document({ openapi: '3.1.0', info })
}
