import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createRandom } from '../../../benchmarks/kubernetes/random.ts'
import type { TupleLine } from '../../../benchmarks/support/import.ts'
import { readLines } from '../../../benchmarks/support/lines.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import type { Fga, Tuple } from '../../../src/authz/fga.ts'
import { createPermissionIndex } from '../../../src/authz/index/create.ts'
import { createStorage } from '../../../src/authz/index/storage.ts'
import { readDsl } from '../../../src/authz/model/dsl.ts'
import { createFga, createFgaApi } from '../../../src/authz/openfga.ts'
import { type FgaObject, splitObject } from '../../../src/kernel/ids.ts'
import { administer } from '../../support/administer.ts'
import { openTestDatabase } from '../../support/database.ts'
import { native, needsOpenfgaProgram, needsPostgres, needsShared } from '../../support/native.ts'
import { type OwnOpenFga, startOpenFga } from '../../support/openfga-server.ts'

// `REPLAY=all`: every person at every point, which takes about an hour.
const isWhole = process.env.REPLAY === 'all'
const points = isWhole ? 2 : 5
const peopleMax = isWhole ? Number.POSITIVE_INFINITY : 20
// A server cuts a list short at 3 s by itself, and what it left out would not be missed here. This one has
// longer, however busy the machine is.
const listSeconds = 60

interface ChangeLine extends TupleLine {
  readonly op: 'write' | 'delete'
}

const needed = needsShared.skip ? needsShared : needsPostgres.skip ? needsPostgres : needsOpenfgaProgram

describe('a year of changes of a real organization', needed, () => {
  test(`undone and done again on a real server, what is nominated holds all that it lists (FUZZ_SEED=${seed})`, {
    timeout: isWhole ? 4 * 3_600_000 : 300_000,
  }, async () => {
    const { tuples, changes, people } = await readYear()
    await using datastore = await openDatastore()
    await using server = await startOpenFga(datastore.url, undefined, {
      OPENFGA_LIST_OBJECTS_DEADLINE: `${listSeconds}s`,
      OPENFGA_REQUEST_TIMEOUT: `${listSeconds + 5}s`,
    })
    const fga = await openStore(server)
    for (let at = 0; at < tuples.length; at += 100) await fga.write({ writes: tuples.slice(at, at + 100) })
    await administer(datastore.url, 'analyze')
    await using database = await openTestDatabase('postgres')
    await using index = createPermissionIndex({
      fga,
      storage: createStorage(database, fga.storeId),
      now: Date.now,
      log: () => undefined,
      pollMs: 100,
      // What is compared here is what it nominates, however slow this machine is.
      staleAfterMs: 60_000,
    })
    index.useModel(fga.modelId, readDsl(await readFile('model.fga', 'utf8')))

    const counts = { questions: 0, nominated: 0, allowed: 0, changed: 0 }
    const lost: string[] = []
    const before = new Map<string, string>()
    const compare = async (point: string) => {
      const part = { nominated: 0, allowed: 0 }
      await index.catchUp()
      for (const person of people) {
        const question = { user: person, relation: 'can_read', contextual: [] } as const
        const found = new Set(index.nominate(question))
        const listed = await listOf(fga, person)
        for (const id of listed) if (!found.has(id)) lost.push(`${point}: ${counts.questions} ${id}`)
        const digest = listed.join(' ')
        if (before.has(person) && before.get(person) !== digest) counts.changed += 1
        before.set(person, digest)
        counts.questions += 1
        part.nominated += found.size
        part.allowed += listed.length
      }
      counts.nominated += part.nominated
      counts.allowed += part.allowed
      return part
    }
    const parts = Array.from({ length: points }, (_, nth) =>
      changes.slice((changes.length * nth) / points, (changes.length * (nth + 1)) / points),
    )
    // Nothing here excludes or ends. Later a list may be wide for some seconds: what was taken away stays in
    // it.
    const { nominated, allowed } = await compare('now')
    expect(allowed).toBe(nominated)
    for (const [nth, part] of parts.toReversed().entries()) {
      await apply(fga, part.toReversed().map(undone))
      await compare(`undone ${nth}`)
    }
    for (const [nth, part] of parts.entries()) {
      await apply(fga, part)
      await compare(`done ${nth}`)
    }
    console.log(
      `seed ${seed}: ${tuples.length} tuples, ${changes.length} changes both ways, ${people.length} people at ` +
        `${2 * points + 1} points: ${counts.questions} lists (${counts.changed} differ from the one before), ${lost.length} lost, ` +
        `${counts.allowed} allowed of ${counts.nominated} nominated (${((100 * counts.allowed) / counts.nominated).toFixed(1)} %)`,
    )
    expect(lost).toEqual([])
    expect(counts.changed).toBeGreaterThan(points)
  })
})

async function openDatastore() {
  const { databaseUrl = '' } = native
  const name = `remit_test_${randomBytes(6).toString('hex')}`
  await administer(databaseUrl, `create database ${name}`)
  return {
    url: Object.assign(new URL(databaseUrl), { pathname: `/${name}`, search: '?sslmode=disable' }).href,
    [Symbol.asyncDispose]: () => administer(databaseUrl, `drop database ${name} with (force)`),
  }
}

async function openStore({ url, token }: OwnOpenFga): Promise<Fga> {
  const api = createFgaApi({ apiUrl: url, apiToken: token, timeoutMs: (listSeconds + 10) * 1_000 })
  const { id } = await api.createStore({ name: 'replay' })
  const model = readDsl(await readFile('model.fga', 'utf8'))
  const { authorization_model_id } = await api.writeAuthorizationModel(id, model)
  return createFga(api, id, () => authorization_model_id)
}

/** The data set in our model, which has no editors; half of the people are those whom the changes name. */
async function readYear() {
  const folder = join(native.shared ?? '', 'data/kubernetes')
  const tuples = await readLines<TupleLine>(join(folder, 'tuples.jsonl.gz'))
  const changes = await readLines<ChangeLine>(join(folder, 'changes.jsonl'))
  const everybody = (await readLines<{ id: string }>(join(folder, 'users.jsonl'))).map(
    ({ id }) => `user:${id}`,
  )
  const random = createRandom(seed)
  const named = random.pick([...new Set(changes.map(({ user }) => user))], Math.ceil(peopleMax / 2))
  const others = random.pick(everybody, peopleMax - named.length)
  const distinct = new Map(tuples.map(translate).map((tuple) => [Object.values(tuple).join(' '), tuple]))
  return {
    tuples: [...distinct.values()],
    changes,
    people: [...new Set([...named, ...others])] as FgaObject[],
  }
}

function translate({ user, relation, object }: TupleLine): Tuple {
  const isViewer = relation === 'owner' || relation === 'editor'
  return { user, relation: isViewer ? 'viewer' : relation, object: object as FgaObject }
}

const undone = (change: ChangeLine): ChangeLine => ({
  ...change,
  op: change.op === 'write' ? 'delete' : 'write',
})

/** In their order, a hundred at a time; a Write takes no tuple twice. */
async function apply(fga: Fga, changes: readonly ChangeLine[]): Promise<void> {
  let page = new Map<string, ChangeLine>()
  const send = async (): Promise<void> => {
    const all = [...page.values()]
    const of = (op: ChangeLine['op']): Tuple[] => all.filter((one) => one.op === op).map(translate)
    page = new Map()
    await fga.write({ writes: of('write'), deletes: of('delete') })
  }
  for (const change of changes) {
    const key = `${change.user} ${change.relation} ${change.object}`
    if (page.size === 100 || page.has(key)) await send()
    page.set(key, change)
  }
  await send()
}

async function listOf(fga: Fga, user: string): Promise<string[]> {
  const began = performance.now()
  const found: string[] = []
  const listed = fga.listObjects({ user, relation: 'can_read', type: 'document' }, { now: Date.now() })
  for await (const object of listed) found.push(splitObject(object).id)
  if (performance.now() - began > (listSeconds - 5) * 1_000)
    throw new Error('the server may have cut its list short')
  return found.sort()
}
