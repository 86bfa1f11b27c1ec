import { version } from '../kernel/version.ts'
import type { App } from './env.ts'

const info = {
  title: 'Remit',
  version,
  description:
    'Fine-grained authorized retrieval for AI agents: an agent that asks gets passages that exactly the person it works for may read, within what that person lent it.',
}

/** What an app's schemas check, closed in requests and answers alike: what this version takes and says. */
export function contractOf(app: App) {
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

/**
 * The contract as it is published: requests closed, answers open to the members and words of later versions
 * (docs/versions.md). Committed as `docs/openapi.json` and compared.
 */
export function openApiOf(app: App): object {
  const contract = contractOf(app)
  const { paths = {}, components } = contract
  const schemas = components?.schemas ?? {}
  const operations = Object.values(paths).flatMap((methods) => Object.values(methods) as Operation[])
  const asked = namesIn(
    operations.map(({ parameters, requestBody }) => [parameters, requestBody]),
    schemas,
  )
  return {
    ...contract,
    components: {
      ...components,
      schemas: mapped(schemas, (schema, name) => (asked.has(name) ? schema : opened(schema))),
    },
    paths: mapped(paths, (methods, path) =>
      mapped(methods as Record<string, Operation>, (operation, method) => ({
        operationId: idOf(method, path),
        ...operation,
        responses: opened(operation.responses),
      })),
    ),
  }
}

interface Operation {
  readonly parameters?: unknown
  readonly requestBody?: unknown
  readonly responses: unknown
}

const mapped = <T, U>(record: Readonly<Record<string, T>>, map: (value: T, name: string) => U) =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value, name)]))

/** Names of the schemas to which these lead. */
function namesIn(roots: unknown, schemas: Readonly<Record<string, unknown>>): ReadonlySet<string> {
  const names = new Set<string>()
  const add = (part: unknown): void => {
    for (const [, name = ''] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      if (names.has(name)) continue
      names.add(name)
      add(schemas[name])
    }
  }
  add(roots)
  return names
}

/**
 * `get /jobs/{id}` → `getJobsById`. Generators call functions by it: another rule would rename every one of
 * them.
 */
const idOf = (method: string, path: string): string =>
  [method, ...path.replaceAll('{', 'by-').split(/\W+/)]
    .filter((word) => word !== '')
    .map((word, place) => (place === 0 ? word : word.charAt(0).toUpperCase() + word.slice(1)))
    .join('')

/** Without an end to its members, nor to the words of a list. */
function opened(schema: unknown): unknown {
  return JSON.parse(JSON.stringify(schema), (_, part: unknown) => {
    if (typeof part !== 'object' || part === null || Array.isArray(part)) return part
    const { type, enum: words, ...rest } = part as { readonly type?: unknown; readonly enum?: unknown }
    if ('additionalProperties' in part && part.additionalProperties === false)
      Reflect.deleteProperty(part, 'additionalProperties')
    return Array.isArray(words) ? { ...rest, anyOf: [{ type, enum: words }, { type: 'string' }] } : part
  })
}
