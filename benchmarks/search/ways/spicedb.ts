import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Tuple } from '../../../src/authz/fga.ts'
import { freePort } from '../../../test/support/port.ts'
import { passageOf, slices } from '../load.ts'
import { connect } from './connection.ts'
import type { OpenPeer } from './peer.ts'
import { type Peer, topK, type Way } from './way.ts'

/** What model.fga says of the types that these worlds have. A permission is not a relation there. */
const schema = `
caveat until(current_time timestamp, expires_at timestamp) { current_time < expires_at }
definition user {}
definition group {
  relation member: user | user with until | group#member
}
definition folder {
  relation parent: folder
  relation viewer: user | user:* | group#member | user with until | group#member with until
  relation blocked: user | group#member
  permission view = viewer + parent->view
  permission barred = blocked + parent->barred
}
definition document {
  relation parent: folder
  relation owner: user
  relation viewer: user | user:* | group#member | user with until | group#member with until
  relation blocked: user | group#member
  permission view = viewer + owner + parent->view
  permission barred = blocked + parent->barred
  permission can_read = view - barred
}`

const startMs = 60_000

/** SpiceDB in memory, a process of its own, asked by its own HTTP gateway; Postgres searches by the ids. */
export const openSpicedb: OpenPeer = async ({ place, corpus, world, env }) => {
  const { SPICEDB_PATH: program } = env
  if (!program) return 'SpiceDB: needs its program, SPICEDB_PATH'
  if (world.policy === 'kubernetes') return 'SpiceDB, kubernetes: its schema here has no organizations'
  await using stack = new AsyncDisposableStack()
  const key = randomBytes(24).toString('hex')
  const at = `127.0.0.1:${await freePort()}`
  const child = spawn(program, ['serve'], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      PATH: env.PATH,
      SPICEDB_GRPC_PRESHARED_KEY: key,
      SPICEDB_GRPC_ADDR: `127.0.0.1:${await freePort()}`,
      SPICEDB_HTTP_ENABLED: 'true',
      SPICEDB_HTTP_ADDR: at,
      SPICEDB_DATASTORE_ENGINE: 'memory',
      SPICEDB_METRICS_ENABLED: 'false',
      SPICEDB_TELEMETRY_ENDPOINT: '',
      SPICEDB_LOG_LEVEL: 'error',
      SPICEDB_SKIP_RELEASE_CHECK: 'true',
    },
  })
  const ended = once(child, 'close')
  stack.defer(async () => {
    child.kill()
    await ended
  })
  const call = async (path: string, body: object): Promise<string> => {
    const response = await fetch(`http://${at}/v1/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      body: JSON.stringify(body),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`SpiceDB answered ${response.status}: ${text}`)
    return text
  }
  for (const until = performance.now() + startMs; ; await sleep(100)) {
    try {
      await call('schema/write', { schema })
      break
    } catch (error) {
      if (child.exitCode !== null || performance.now() > until) throw error
    }
  }
  const placeOf = new Map(corpus.documents.map(({ id }, place) => [`document:${id}`, place]))
  // Its ids have no dots.
  const objectOf = (object: string) => {
    const [type = ''] = object.split(':', 1)
    const id = object.slice(type.length + 1)
    const own = type === 'document' ? String(placeOf.get(object)) : Buffer.from(id).toString('base64url')
    return { objectType: type, objectId: id === '*' ? '*' : own }
  }
  const relationshipOf = ({ user, relation, object, condition }: Tuple) => {
    const [subject = '', optionalRelation] = user.split('#')
    return {
      resource: objectOf(object),
      relation,
      subject: { object: objectOf(subject), ...(optionalRelation && { optionalRelation }) },
      ...(condition && { optionalCaveat: { caveatName: condition.name, context: condition.context } }),
    }
  }
  const write = (tuples: readonly Tuple[], operation: 'TOUCH' | 'DELETE') =>
    call('relationships/write', {
      updates: tuples.map((tuple) => ({
        operation: `OPERATION_${operation}`,
        relationship: relationshipOf(tuple),
      })),
    })
  for (const slice of slices(world.tuples.length, 1_000))
    await write(
      slice.flatMap((one) => world.tuples[one] ?? []),
      'TOUCH',
    )

  // As it comes it answers from a revision of some seconds ago: none counts before all is there.
  const last = world.tuples.at(-1)
  for (const until = performance.now() + startMs; last !== undefined; await sleep(200)) {
    const { objectType, objectId } = objectOf(last.object)
    const found = await call('relationships/read', {
      consistency: { minimizeLatency: true },
      relationshipFilter: { resourceType: objectType, optionalResourceId: objectId },
    }).catch(() => '')
    if (found !== '') break
    if (performance.now() > until) throw new Error('SpiceDB does not show what was written.')
  }

  const connection = stack.use(await connect(place, { 'hnsw.ef_search': 40 }))
  const way = (name: Peer, consistency: object, is: string): Way<Peer> => ({
    name,
    kind: 'release',
    is,
    async ask({ person, sent }) {
      const lines = await call('permissions/resources', {
        consistency,
        resourceObjectType: 'document',
        permission: 'can_read',
        subject: { object: objectOf(person) },
        context: { current_time: new Date().toISOString() },
      })
      const numbers = lines.split('\n').flatMap((line) => (line === '' ? [] : numberOf(line)))
      const rows = await connection.query<{ chunk_id: string }>(
        'looked-up',
        'select chunk_id from chunks where doc_no = any($2::int[]) order by embedding <#> $1 limit $3',
        [sent, numbers, topK],
      )
      return { passages: rows.map(({ chunk_id }) => passageOf(chunk_id)), checks: 0 }
    },
    async change({ person, document, isGiven }) {
      const object = `document:${corpus.documents[document]?.id}` as const
      await write([{ user: person, relation: 'viewer', object }], isGiven ? 'TOUCH' : 'DELETE')
    },
  })
  const owned = stack.move()
  return {
    ways: [
      way(
        'SpiceDB, LookupResources',
        { minimizeLatency: true },
        'in memory, by its HTTP gateway, all as it comes (minimize_latency: revisions of five seconds); Postgres searches by the ids as for ListObjects',
      ),
      way('SpiceDB, fully consistent', { fullyConsistent: true }, 'the same with fully_consistent'),
    ],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

interface LookedUp {
  readonly result?: { readonly resourceObjectId: string; readonly permissionship: string }
}

/** Of the passages' table; none where it depends on something that was not said. */
function numberOf(line: string): number[] {
  const { result } = JSON.parse(line) as LookedUp
  if (result === undefined) throw new Error(`SpiceDB ended its list early: ${line}`)
  return result.permissionship === 'LOOKUP_PERMISSIONSHIP_HAS_PERMISSION'
    ? [Number(result.resourceObjectId) + 1]
    : []
}
