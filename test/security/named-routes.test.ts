import { describe, expect, test } from 'vitest'
import { openWorld, type World } from '../support/world.ts'

describe('every route that takes the name of something', () => {
  const own = 'by rows of the caller’s own: one statement with whose they are in it'
  const all = 'to those who may know of everything (a role is asked for first)'
  const gate = 'by the one function that asks about what is named'
  const rights = 'to services: as many rights are asked about, whatever is there'
  const searched = 'by a search: what is named narrows it, and is never looked up by itself'
  const signed = 'to whoever signs the call: the same work and answer where there is nothing to sign for'
  const directory = 'to a directory: rows that it made, by one statement with whose they are in it'
  const random = 'by a random name and a cookie of the one browser that was given it'
  const public_ = 'to whoever comes: what is named is a file, or a provider that the operator set up'

  const routes: Readonly<Record<string, readonly string[]>> = {
    [gate]: [
      'GET /documents/{id}',
      'POST /delegations',
      'GET /approvals/{id}',
      'POST /approvals/{id}/decision',
    ],
    [rights]: [
      'PUT /documents/{id}',
      'DELETE /documents/{id}',
      'PUT /documents/{id}/access',
      'POST /documents/{id}/retry',
      'POST /imports',
      'POST /access',
    ],
    [searched]: ['POST /retrieve'],
    [own]: [
      'GET /jobs/{id}',
      'DELETE /delegations/{id}',
      'DELETE /delegations/programs/{id}',
      'POST /connections/{name}/connect',
      'DELETE /connections/{id}',
      'DELETE /connections/{id}/agents/{agent}',
      'POST /approvals',
      'DELETE /approvals/grants/{id}',
      'DELETE /approvals/blocks/{id}',
      'POST /approvals/grants/{id}/revoke',
      'POST /approvals/{id}/answers',
      'POST /delegations/{id}/revoke',
      'POST /delegations/programs/{id}/end',
      'GET /connections/requests/{id}',
      'POST /connections/requests/{id}/refuse',
      'POST /connections/{id}/agents',
      'POST /connections/{id}/agents/remove',
      'POST /connections/{id}/disconnect',
      'POST /vault/fetch',
    ],
    [directory]: [
      ...['Users', 'Groups'].flatMap((type) =>
        ['GET', 'PUT', 'PATCH', 'DELETE'].map((method) => `${method} /scim/v2/${type}/{id}`),
      ),
      'GET /scim/v2/ResourceTypes/{name}',
      'GET /scim/v2/Schemas/{name}',
    ],
    [all]: [
      'PUT /collections/{id}',
      'POST /explain',
      'GET /audit',
      'GET /audit/readers',
      'GET /audit/reads',
      'GET /audit/thread',
      'GET /audit/reach',
      'GET /audit/delegations',
      'POST /view-as',
      'POST /memberships',
      'POST /who-can',
      'POST /what-if',
      'GET /model/plans/{id}',
      'POST /model/apply',
      'POST /agents',
      'GET /agents/{id}',
      'POST /agents/{id}/disable',
      'POST /hosts/{host}/disable',
      'POST /sources',
      'GET /sources/{id}',
      'POST /sources/{id}',
      'GET /sources/{id}/people',
      'POST /sources/{id}/people',
    ],
    [signed]: ['POST /sources/{id}/hook'],
    [random]: [
      'GET /oauth/interaction/{uid}',
      'POST /oauth/interaction/{uid}/consent',
      'POST /oauth/interaction/{uid}/refuse',
      'POST /oauth/interaction/{uid}/sign-in',
      'POST /oauth/interaction/{uid}/sign-in/passkey',
    ],
    [public_]: [
      'GET /connections/{name}/callback',
      'GET /console/files/{name}',
      'GET /docs/errors/{code}',
      'GET /sign-in/upstream/{namespace}/callback',
    ],
  }

  test('is listed here with how it keeps what is hidden apart from nothing', async () => {
    await using world = await openWorld({ embedder: null })
    const isId =
      /^(id|name|agent|user|group|subject|object|documents?|collections?|folder|delegation|approval|grants?|scope|offer|connection|plan_id|txn|parents)$/
    const inContract = await operationsWith(world, (member) => isId.test(member))
    const inPaths = world.service.app.routes
      .filter(({ method, path }) => method !== 'ALL' && path.includes(':'))
      .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)(\{[^}]*\})?/g, '{$1}')}`)
    expect([...new Set([...inContract, ...inPaths])].sort()).toEqual(Object.values(routes).flat().sort())
  })
})

interface Schema {
  readonly $ref?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
  readonly allOf?: readonly Schema[]
}

interface Operation {
  readonly parameters?: readonly { readonly name: string; readonly in: string }[]
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> }
}

/** Those of the contract that take such a member, in the path, the query or the body. */
async function operationsWith(world: World, isSuch: (member: string) => boolean): Promise<string[]> {
  const response = await world.call('GET', '/openapi.json')
  const { paths, components } = (await response.json()) as {
    readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
    readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
  }
  const membersOf = (schema: Schema, depth = 0): string[] => {
    if (depth > 8) return []
    const named = schema.$ref && components.schemas[schema.$ref.split('/').at(-1) ?? '']
    const inner = [
      ...(named ? [named] : []),
      ...(schema.items ? [schema.items] : []),
      ...(schema.anyOf ?? []),
      ...(schema.oneOf ?? []),
      ...(schema.allOf ?? []),
      ...Object.values(schema.properties ?? {}),
    ]
    return [...Object.keys(schema.properties ?? {}), ...inner.flatMap((one) => membersOf(one, depth + 1))]
  }
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { parameters = [], requestBody }]) => {
      const members = [
        ...parameters.map(({ name }) => name),
        ...Object.values(requestBody?.content ?? {}).flatMap(({ schema }) => membersOf(schema)),
      ]
      return members.some(isSuch) || path.includes('{') ? [`${method.toUpperCase()} ${path}`] : []
    }),
  )
}
