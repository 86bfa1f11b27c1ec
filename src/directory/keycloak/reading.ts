import { z } from 'zod'
import { ownElapsed } from '../../kernel/elapsed.ts'
import { OutboundError } from '../../outbound/error.ts'
import { createMeter, type Meter, readingBounds } from '../reading/bounds.ts'
import {
  defineDirectoryKind,
  type ReadGroup,
  type Reading,
  type ReadingOptions,
  type ReadPerson,
} from '../reading/kind.ts'

const loopbackHosts: ReadonlySet<string> = new Set(['127.0.0.1', '[::1]', 'localhost'])

/** What one has to say of a realm. */
export const keycloakSettings = z.strictObject({
  url: z.string().refine(isServer, { message: 'must be an origin like https://sso.corp.example' }),
  /** Before `/realms` and `/admin`, such as `/auth`. */
  path: z
    .string()
    .regex(/^(?:\/[\w-]+)*$/, 'must be a path without a slash at its end')
    .default(''),
  realm: z.string().regex(/^[\w-][\w.-]{0,99}$/, 'must be the name of a realm'),
  client_id: z.string().min(1).max(255),
  page_size: z.int().min(1).max(1_000).default(100),
})

/** Settings that were read. */
type KeycloakSettings = z.infer<typeof keycloakSettings>

/** Users and groups of one realm, by the admin REST API with the service account of a client. */
export const keycloakKind = defineDirectoryKind({
  id: 'keycloak',
  settings: keycloakSettings,
  originOf: ({ url }) => url,
  keyAttributeOf: () => 'id',
  read: readKeycloak,
})

// What is a part of a path.
const id = z.string().regex(/^[\w-]{1,64}$/)
const usersPage = z.array(z.object({ id, enabled: z.boolean().optional() }))
// As Postgres keeps it: a group with another name is a group all the same.
const name = z.string().transform((text) => text.toWellFormed().replaceAll('\0', '\uFFFD'))
const groupsPage = z.array(z.object({ id, name }))
const membersPage = z.array(z.object({ id }))
const tokenAnswer = z.object({ access_token: z.string().min(1), expires_in: z.number() })

const attemptsMax = 4
const timeoutMs = 60_000

/**
 * All users and groups of a realm. Its lists are numbered from their beginning: where somebody is deleted
 * meanwhile, somebody else is passed over. So it is read until a reading has all that the one before has:
 * that one has who was deleted, and the next one whoever it passed over. What came since counts, so that
 * nobody who may register keeps it from being read. Each takes in no more than the bounds.
 */
export async function readKeycloak(settings: KeycloakSettings, options: ReadingOptions): Promise<Reading> {
  const { bounds = readingBounds } = options
  const ask = createAsk(settings, options)
  let last = await readOnce(settings, ask, createMeter(bounds))
  for (let attempt = 1; attempt < attemptsMax; attempt += 1) {
    const next = await readOnce(settings, ask, createMeter(bounds))
    if (hasAllOf(next, last)) return next
    last = next
  }
  throw new Error(`The realm changed while it was read, ${attemptsMax - 1} times in a row.`)
}

function hasAllOf(next: Reading, last: Reading): boolean {
  const people = new Map(next.people.map((person) => [person.id, person]))
  const groups = new Map(next.groups.map((group) => [group.id, group]))
  const hasAll = (all: readonly string[] = [], some: readonly string[] = []): boolean => {
    const ids = new Set(all)
    return some.every((one) => ids.has(one))
  }
  return (
    last.people.every(
      ({ id: known, isActive }) => people.get(known)?.isActive === isActive && people.has(known),
    ) &&
    last.groups.every((group) => {
      const now = groups.get(group.id)
      return now?.name === group.name && hasAll(now.people, group.people) && hasAll(now.groups, group.groups)
    })
  )
}

/** GET below `/admin/realms/REALM`. Throws for any answer but 200. */
type Ask = (path: string, meter: Meter) => Promise<unknown>

async function readOnce({ page_size: pageSize }: KeycloakSettings, ask: Ask, meter: Meter): Promise<Reading> {
  /** To its first empty page: one that is not full may have been thinned out by rights. */
  async function all<Row>(path: string, page: z.ZodType<readonly Row[]>): Promise<readonly Row[]> {
    const rows: Row[] = []
    for (let first = 0; ; first += pageSize) {
      const answer = page.safeParse(
        await ask(`${path}?briefRepresentation=true&first=${first}&max=${pageSize}`, meter),
      )
      if (!answer.success) throw new Error(`Keycloak’s answer to ${path} cannot be read.`)
      if (answer.data.length === 0) return rows
      const over = meter.add('entries', answer.data.length)
      if (over !== undefined) throw over
      for (const row of answer.data) rows.push(row)
    }
  }
  const people = new Map<string, ReadPerson>()
  for (const user of await all('/users', usersPage))
    people.set(user.id, { id: user.id, key: user.id, isActive: user.enabled })
  const groups = new Map<string, ReadGroup>()
  const open = [...(await all('/groups', groupsPage))]
  for (let group = open.pop(); group !== undefined; group = open.pop()) {
    if (groups.has(group.id)) continue
    const children = await all(`/groups/${group.id}/children`, groupsPage)
    const members = await all(`/groups/${group.id}/members`, membersPage)
    for (const child of children) open.push(child)
    groups.set(group.id, {
      id: group.id,
      name: group.name,
      people: idsOf(members),
      groups: idsOf(children),
    })
  }
  const inOrder = <Row extends { readonly id: string }>(rows: Iterable<Row>): Row[] =>
    [...rows].sort((one, other) => (one.id < other.id ? -1 : 1))
  return {
    people: inOrder(people.values()),
    groups: inOrder(groups.values()),
    isCertain: true,
    problems: [],
  }
}

const idsOf = (rows: readonly { readonly id: string }[]): readonly string[] =>
  [...new Set(rows.map((row) => row.id))].sort()

/** As the service account of the client (RFC 6749 §4.4). */
function createAsk(
  { url, path: root, realm, client_id: clientId }: KeycloakSettings,
  { secret, outbound, signal, bounds = readingBounds }: ReadingOptions,
): Ask {
  let token = ''
  let isGoodUntil = 0

  async function send(
    path: string,
    request: { method?: string; headers: Record<string, string>; body?: string },
  ) {
    try {
      return await outbound(`${url}${root}${path}`, {
        ...request,
        signal,
        timeoutMs,
        headersTimeoutMs: timeoutMs,
        bytesMax: bounds.answerBytes,
      })
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof OutboundError) throw new Error(`Keycloak does not answer (${error.reason}).`)
      throw error
    }
  }

  async function signIn(): Promise<void> {
    const { status, body } = await send(`/realms/${realm}/protocol/openid-connect/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        client_id: clientId,
        client_secret: secret,
      }).toString(),
    })
    if (status !== 200) throw new Error(`Keycloak does not take the client’s secret: ${status}.`)
    const answer = tokenAnswer.parse(JSON.parse(Buffer.from(body).toString('utf8')))
    token = answer.access_token
    isGoodUntil = ownElapsed() + answer.expires_in * 500
  }

  return async (path, meter) => {
    if (ownElapsed() >= isGoodUntil) await signIn()
    const { status, body } = await send(`/admin/realms/${realm}${path}`, {
      headers: { authorization: `Bearer ${token}`, accept: 'application/json' },
    })
    const over = meter.add('bytes', body.byteLength)
    if (over !== undefined) throw over
    const [what] = path.split('?', 1)
    if (status === 403) throw new Error(`The service account may not read ${what}.`)
    if (status !== 200) throw new Error(`Keycloak answers ${status} for ${what}.`)
    return JSON.parse(Buffer.from(body).toString('utf8')) as unknown
  }
}

/** An origin by https, or by http on loopback. */
function isServer(value: string): boolean {
  const url = URL.parse(value)
  return (
    url !== null &&
    url.origin === value &&
    (url.protocol === 'https:' || (url.protocol === 'http:' && loopbackHosts.has(url.hostname)))
  )
}
