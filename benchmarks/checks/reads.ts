import { readFileSync } from 'node:fs'
import type { Check, Fga, TupleKey } from '../../src/authz/fga.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { createFga } from '../../src/authz/openfga.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import { asRun, openServers } from './server.ts'

/**
 * How often OpenFGA reads its database for one check, by relation: of a document that has its own ACL, of one
 * three folders deep in a collection, and of one in a folder under a zone; by a person and by an agent; past
 * all caches. Counts hold whatever else runs. Needs OPENFGA_BINARY and TEST_DATABASE_URL. Models named as
 * arguments are asked beside model.fga.
 */
const { OPENFGA_BINARY: binary, TEST_DATABASE_URL: admin } = process.env
if (!binary || !admin) throw new Error('Set OPENFGA_BINARY (1.22.1) and TEST_DATABASE_URL.')

const times = 20
const user = 'user:anne'
const tupleOf = (line: string): TupleKey => {
  const [who = '', relation = '', object = ''] = line.split(' ')
  return { user: who, relation, object: object as FgaObject }
}
const tuples = [
  'organization:o organization collection:c',
  'user:anne member group:g',
  'group:g#member viewer document:own',
  'collection:c filed_in document:own',
  'group:g#member viewer folder:1',
  'collection:c parent folder:1',
  'folder:1 parent folder:2',
  'folder:2 parent folder:3',
  'folder:3 parent document:deep',
  'collection:c filed_in document:deep',
  'collection:c filed_in zone:z',
  ...['audience', 'gate_1', 'gate_2', 'gate_3'].map((relation) => `group:g#member ${relation} zone:z`),
  'zone:z parent folder:z',
  'folder:z parent document:zoned',
  'collection:c filed_in document:zoned',
  'agent:a agent delegation:t',
  'delegation:t delegated_to collection:c',
].map(tupleOf)
const ending = { name: 'until' as const, context: { expires_at: '2999-01-01T00:00:00Z' } }
const presented = ['user:anne acting_for agent:a', 'user:anne presented delegation:t'].map(tupleOf)
const notBlocked = ['user:anne not_blocked collection:c', 'user:anne not_blocked zone:z'].map(tupleOf)
const rows: readonly (readonly [string, readonly TupleKey[], string])[] = [
  ['viewer', [], ''],
  ['blocked', [], ''],
  ['blocked', notBlocked, ', brought along that they are not blocked above'],
  ['can_read', [], ''],
  ['sensitive', [], ''],
  ['in_scope', presented, ''],
  ['can_be_told', presented, ''],
  ['can_read_delegated', presented, ''],
]

const servers = await openServers(binary, admin)
const server = await servers.start(asRun)
try {
  const { id } = await server.api.createStore({ name: 'benchmark' })
  let modelId = ''
  const fga = createFga(server.api, id, () => modelId)
  for (const [nth, file] of [
    new URL('../../model.fga', import.meta.url),
    ...process.argv.slice(2),
  ].entries()) {
    const json = readDsl(readFileSync(file, 'utf8'))
    modelId = (await server.api.writeAuthorizationModel(id, json as never)).authorization_model_id
    if (nth === 0)
      await fga.write({
        writes: [...tuples, { ...tupleOf('user:anne delegator delegation:t'), condition: ending }],
      })
    console.log(typeof file === 'string' ? file : 'model.fga')
    const isKnown = json.type_definitions.some(
      ({ type, relations }) => type === 'zone' && relations?.['not_blocked'],
    )
    for (const [relation, contextual, how] of rows) {
      if (contextual === notBlocked && !isKnown) continue
      const counts: string[] = []
      for (const object of ['document:own', 'document:deep', 'document:zoned'] as const)
        counts.push(`${object} ${await readsOf(fga, { user, relation, object, contextual })}`)
      console.log(`  ${relation}${how}: ${counts.join(', ')}`)
    }
  }
} finally {
  await servers.close()
}

/** In the middle of several: which of two answers comes first is a matter of a moment. */
async function readsOf(fga: Fga, check: Check): Promise<number> {
  const counts: number[] = []
  for (let time = 0; time < times; time++) {
    const before = await server.reads()
    await fga.batchCheck([check], { now: Date.now() })
    counts.push((await server.reads()) - before)
  }
  return counts.toSorted((a, b) => a - b)[times / 2] ?? Number.NaN
}
