import type { MiddlewareHandler } from 'hono'
import type { Directories, Directory } from '../../../directory/directories.ts'
import { directoryActor } from '../../../directory/memberships.ts'
import { notFound, ScimError } from '../../../directory/scim/errors.ts'
import { bodyBytesMax } from '../../../directory/scim/limits.ts'
import type { ScimAnswer, ScimCaller } from '../../../directory/scim/request.ts'
import { type ResourceType, resourceTypes } from '../../../directory/scim/schemas.ts'
import type { Scim } from '../../../directory/scim/service.ts'
import { AppError } from '../../../kernel/errors.ts'
import { type App, type AppContext, createRouter } from '../../env.ts'
import { jsonBody } from '../../middleware/json.ts'

export interface ScimRoutesDeps {
  readonly scim: Scim
  readonly directories: Pick<Directories, 'authenticate'>
}

const scimJson = 'application/scim+json'

/**
 * SCIM 2.0 at `/scim/v2` (RFC 7644), for directories by their own tokens; no other token counts here, and
 * theirs nowhere else. What it is made of, `/Schemas` says; it is not part of our OpenAPI.
 */
export function scimRoutes({ scim, directories }: ScimRoutesDeps): App {
  const routes = createRouter()
  const callers = new WeakMap<AppContext, ScimCaller>()

  const requireDirectory: MiddlewareHandler = async function bearer(c: AppContext, next) {
    const [scheme, token, ...more] = (c.req.header('authorization') ?? '').split(' ')
    const authenticate = async (): Promise<Directory> => {
      const directory =
        scheme?.toLowerCase() === 'bearer' && token !== undefined && more.length === 0
          ? await directories.authenticate(token)
          : undefined
      if (directory !== undefined) return directory
      throw new AppError('invalid_token', { headers: { 'www-authenticate': 'Bearer realm="scim"' } })
    }
    const directory = await authenticate()
    const assertStands = async (): Promise<void> => void (await authenticate())
    c.set('deadline', { ...c.get('deadline'), assertStands })
    const recordedAs = { ...directoryActor(directory, c.get('txn')), over: c.get('over') }
    callers.set(c, { directory, recordedAs })
    await next()
  }
  const callerOf = (c: AppContext): ScimCaller => {
    const caller = callers.get(c)
    if (caller === undefined) throw new Error('No directory was asked for.')
    return caller
  }
  const reads = [requireDirectory] as const
  const writes = [requireDirectory, ...jsonBody(bodyBytesMax, [scimJson, 'application/json'])] as const

  for (const what of ['ServiceProviderConfig', 'ResourceTypes', 'Schemas'] as const)
    routes.get(`/scim/v2/${what}`, ...reads, (c) => {
      if (new URL(c.req.url).searchParams.has('filter'))
        throw new AppError('forbidden', { public: 'What describes this server is not filtered.' })
      return show(c, 200, scim.describe(callerOf(c), what))
    })
  for (const what of ['ResourceTypes', 'Schemas'] as const)
    routes.get(`/scim/v2/${what}/:name`, ...reads, (c) =>
      show(c, 200, scim.describe(callerOf(c), what, c.req.param('name'))),
    )
  routes.post('/scim/v2/Bulk', ...writes, async (c) =>
    show(c, 200, await scim.bulk(callerOf(c), await bodyOf(c))),
  )
  routes.post('/scim/v2/.search', ...writes, async (c) =>
    show(c, 200, await scim.list(callerOf(c), undefined, await searchOf(c))),
  )
  for (const type of resourceTypes) addResource(type)
  return routes

  function addResource(type: ResourceType): void {
    routes.get(`/scim/v2/${type}`, ...reads, async (c) =>
      show(c, 200, await scim.list(callerOf(c), type, c.req.query())),
    )
    routes.post(`/scim/v2/${type}`, ...writes, async (c) =>
      answer(c, await scim.create(callerOf(c), type, await bodyOf(c))),
    )
    routes.post(`/scim/v2/${type}/.search`, ...writes, async (c) =>
      show(c, 200, await scim.list(callerOf(c), type, await searchOf(c))),
    )
    routes.get(`/scim/v2/${type}/:id`, ...reads, async (c) => {
      const read = await scim.read(callerOf(c), type, c.req.param('id'), {
        given: c.req.query(),
        ifNoneMatch: c.req.header('if-none-match'),
      })
      return read === undefined ? c.body(null, 304) : answer(c, read)
    })
    for (const method of ['PUT', 'PATCH'] as const)
      routes.on(method, `/scim/v2/${type}/:id`, ...writes, async (c) =>
        answer(
          c,
          await scim.change(callerOf(c), type, idOf(c), {
            method,
            body: await bodyOf(c),
            ifMatch: c.req.header('if-match'),
          }),
        ),
      )
    routes.delete(`/scim/v2/${type}/:id`, ...reads, async (c) =>
      answer(
        c,
        await scim.change(callerOf(c), type, c.req.param('id'), {
          method: 'DELETE',
          body: undefined,
          ifMatch: c.req.header('if-match'),
        }),
      ),
    )
  }
}

const idOf = (c: AppContext): string => c.req.param('id') ?? ''

async function bodyOf(c: AppContext): Promise<unknown> {
  try {
    return await c.req.json<unknown>()
  } catch {
    throw new ScimError(400, 'The body is not JSON.', 'invalidSyntax')
  }
}

async function searchOf(c: AppContext): Promise<Readonly<Record<string, unknown>>> {
  const body = await bodyOf(c)
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new ScimError(400, 'The body is an object.', 'invalidSyntax')
  return { ...body }
}

function show(c: AppContext, status: 200 | 201, document: object | undefined): Response {
  if (document === undefined) throw notFound()
  return c.body(JSON.stringify(document), { status, headers: { 'content-type': scimJson } })
}

function answer(c: AppContext, { status, resource, version, location }: ScimAnswer): Response {
  if (version !== undefined) c.header('etag', version)
  if (location !== undefined) c.header('location', location)
  return status === 204 ? c.body(null, 204) : show(c, status, resource)
}
