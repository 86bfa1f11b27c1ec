import { z } from '@hono/zod-openapi'
import {
  allSourcesAnswer,
  oneSourceAnswer,
  source,
  sourceAction,
  sourceProposal,
  sourceReadAnswer,
} from '@remit/contract/sources'
import { AppError } from '../../../kernel/errors.ts'
import type { Principal } from '../../../kernel/principal.ts'
import type { SourceHooks } from '../../../sources/hooks.ts'
import type { Sources } from '../../../sources/registry.ts'
import { digestOf, type SourceRow } from '../../../sources/rows.ts'
import type { ProposedChange } from '../../../sources/settings-change.ts'
import { type App, createRouter, reply } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody, smallBody } from '../../middleware/json.ts'
import { bearerRoute, bodyOf, id as contractId, json, openRoute, problems } from '../../schemas.ts'
import { assertAdministrator, type IsAdministrator } from '../writing.ts'

export interface SourceRouteDeps {
  readonly sources: Sources
  readonly hooks: Pick<SourceHooks, 'make' | 'end'>
  readonly requireBearer: RequireBearer
  /** Of the role `security.write`. */
  readonly isAdministrator: IsAdministrator
  readonly now: () => number
}

const hookBytesMax = 1024 * 1024

const signatureHeader = 'X-Hub-Signature-256'

// Settings may name 20,000 people.
const bodyBytesMax = 4 * 1024 * 1024
const pageMax = 200

const sourceShown = source.clone().openapi('Source')
const listed = allSourcesAnswer.extend({ sources: z.array(sourceShown) }).openapi('SourceList')
const answered = oneSourceAnswer.extend({ source: sourceShown }).openapi('SourceAnswer')
const read = sourceReadAnswer.extend({ source: sourceShown }).openapi('SourceRead')
const proposal = sourceProposal.clone().openapi('SourceProposal')
const action = sourceAction.clone().openapi('SourceAction')
const params = z.strictObject({ id: contractId })
const query = z.strictObject({
  after: contractId.optional().openapi({ description: 'Hidden documents whose id comes after this one' }),
  limit: z.coerce.number().int().min(1).max(pageMax).default(50),
})

/**
 * `GET /sources`, `POST /sources`, `GET /sources/{id}`, `POST /sources/{id}`: for a person who is an
 * administrator with `security.write` and signed in within 15 minutes.
 */
export function sourceRoutes({ sources, hooks, requireBearer, isAdministrator, now }: SourceRouteDeps): App {
  const administrator = requireBearer({ kinds: ['person'], scopes: ['security.write'] })
  const listRoute = bearerRoute('get', '/sources', {
    summary: 'Sources that the service reads by itself, and how they stand',
    middleware: [administrator],
    responses: { 200: json('By id', listed), ...problems() },
  })
  const proposeRoute = bearerRoute('post', '/sources', {
    summary: 'Propose a source; another administrator has to confirm it before it is read',
    middleware: [administrator, ...jsonBody(bodyBytesMax)],
    request: { body: bodyOf(proposal) },
    responses: { 200: json('Proposed', answered), ...problems(409) },
  })
  const readRoute = bearerRoute('get', '/sources/{id}', {
    summary: 'How a source stands, and what of it nobody may read, with the reason',
    middleware: [administrator],
    request: { params, query },
    responses: { 200: json('The source', read), ...problems(404) },
  })
  const actRoute = bearerRoute('post', '/sources/{id}', {
    summary:
      'Confirm, read now, pause, resume or remove a source, propose other settings, have what is missing from it purged, make a hook or end it',
    middleware: [administrator, ...jsonBody(bodyBytesMax)],
    request: { params, body: bodyOf(action) },
    responses: { 200: json('As it stands now', answered), ...problems(404, 409) },
  })
  return createRouter()
    .openapi(listRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      return reply(c, { sources: (await sources.list()).map(toWire) })
    })
    .openapi(proposeRoute, async (c) => {
      const principal = c.get('principal')
      await assertAdministrator(principal, isAdministrator, now())
      const { id, kind, settings, collections, secret, ...timing } = c.req.valid('json')
      const { poll_seconds, crawl_seconds, permissions_max_age_seconds, purge_days, requests_per_minute } =
        timing
      const proposed = await sources.propose(principal, {
        id,
        kind,
        settings,
        collections,
        ...(secret !== undefined && { secret }),
        ...(requests_per_minute !== undefined && { requestsPerMinute: requests_per_minute }),
        ...(poll_seconds !== undefined && { pollSeconds: poll_seconds }),
        ...(crawl_seconds !== undefined && { crawlSeconds: crawl_seconds }),
        ...(permissions_max_age_seconds !== undefined && { maxAgeSeconds: permissions_max_age_seconds }),
        ...(purge_days !== undefined && { purgeDays: purge_days }),
      })
      return reply(c, { source: toWire(proposed) })
    })
    .openapi(readRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const { id } = c.req.valid('param')
      const { after, limit } = c.req.valid('query')
      const row = await sources.get(id)
      const change = await sources.change(id)
      const hidden = await sources.hidden(id, { ...(after !== undefined && { after }), limit })
      return reply(c, {
        source: toWire(row),
        hidden: hidden.map(({ document, reason, confirmedAt, missingAt }) => ({
          document_id: document,
          reason,
          confirmed_at: timeOf(confirmedAt),
          missing_since: timeOf(missingAt),
        })),
        nameless: row.nameless.map(({ name, problem }) => ({ name, reason: problem })),
        proposed_change: change === undefined ? null : changeToWire(change),
      })
    })
    .openapi(actRoute, async (c) => {
      const principal = c.get('principal')
      await assertAdministrator(principal, isAdministrator, now())
      const { id } = c.req.valid('param')
      const request = c.req.valid('json')
      if (request.action !== 'hook')
        return reply(c, { source: toWire(await act({ sources, hooks }, principal, id, request)) })
      const newHook = await hooks.make(principal, id)
      return reply(c, { source: toWire(newHook.source), hook_secret: newHook.secret })
    })
}

function act(
  { sources, hooks }: Pick<SourceRouteDeps, 'sources' | 'hooks'>,
  principal: Principal,
  id: string,
  request: Exclude<z.output<typeof action>, { readonly action: 'hook' }>,
): Promise<SourceRow> {
  switch (request.action) {
    case 'confirm':
      return sources.confirm(principal, id, request.digest)
    case 'sync':
      return sources.wake(principal, id, { all: request.all ?? false })
    case 'purge':
      return sources.purge(principal, id, request.documents)
    case 'set':
      return sources.set(principal, id, request)
    case 'end_hook':
      return hooks.end(principal, id)
    default:
      return sources[request.action](principal, id)
  }
}

const timeOf = (time: Date | undefined): string | null => time?.toISOString() ?? null

const settingsSchema = z.looseObject({})

const changeToWire = ({ origin, settings, secret, proposedBy, digest }: ProposedChange) => ({
  origin,
  settings: settingsSchema.parse(settings),
  secret: secret ?? null,
  proposed_by: proposedBy,
  digest,
})

const toWire = (row: SourceRow): z.output<typeof sourceShown> => ({
  id: row.id,
  kind: row.kind,
  origin: row.origin,
  settings: settingsSchema.parse(row.settings),
  collections: [...row.collections],
  digest: digestOf(row),
  state: row.state,
  proposed_by: row.proposedBy,
  confirmed_by: row.confirmedBy ?? null,
  poll_seconds: row.pollSeconds,
  crawl_seconds: row.crawlSeconds,
  permissions_max_age_seconds: row.maxAgeSeconds,
  purge_days: row.purgeDays,
  secret: row.secret ?? null,
  requests_per_minute: row.requestsPerMinute,
  fresh: row.isFresh,
  groups_confirmed_at: timeOf(row.groupsAt),
  items_confirmed_at: timeOf(row.itemsAt),
  began_at: timeOf(row.beganAt),
  ended_at: timeOf(row.endedAt),
  next_at: row.nextAt.toISOString(),
  failures: row.failures,
  problem: row.problem ?? null,
  items: row.items,
  hidden: row.hidden,
  missing: row.missing,
  requests: row.requests,
  throttled: row.throttled,
  has_hook: row.hasHook,
  hook_called_at: timeOf(row.hookCalledAt),
})

/**
 * `POST /sources/{id}/hook`, for the source's own system: its call wakes a reading, by a signature as GitHub
 * makes it. A body has 1 MiB at most, and nothing of it is used.
 */
export function sourceHookRoutes({ hooks }: { readonly hooks: Pick<SourceHooks, 'call'> }): App {
  const route = openRoute('post', '/sources/{id}/hook', {
    summary: `Have a source read soon, by ${signatureHeader}: sha256= and HMAC-SHA-256 of the body, whatever that is`,
    middleware: [smallBody(hookBytesMax)],
    request: { params },
    responses: { 204: { description: 'It is read within seconds' }, ...problems(404) },
  })
  return createRouter().openapi(route, async (c) => {
    const call = {
      body: new Uint8Array(await c.req.arrayBuffer()),
      signature: c.req.header(signatureHeader),
    }
    if (!(await hooks.call(c.req.valid('param').id, call))) throw new AppError('not_found')
    return c.body(null, 204)
  })
}
