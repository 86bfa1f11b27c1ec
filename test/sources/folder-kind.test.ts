import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { openWorld, type World } from '../support/world.ts'

let root: string
let world: World
beforeAll(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'remit-folder-')))
  await mkdir(join(root, 'shared'))
  await mkdir(join(root, 'private'))
  await writeFile(join(root, 'shared', 'otter.md'), '# The otter\n\nSaw an otter by the river.')
  await writeFile(join(root, 'private', 'secret.md'), 'The otter is a spy.')
  world = await openWorld({ env: { SOURCE_ORIGINS: pathToFileURL(join(root, 'shared')).href } })
  await world.service.ingest.saveCollection(operator('test'), { id: 'shared', title: 'Shared' })
  for (const user of ['dan', 'carol'])
    await world.service.administrators.add(`user:${user}`, ['security.write'])
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await rm(root, { recursive: true, force: true })
})

const call = async (user: string, path: string, body: object) => {
  const response = await world.call('POST', path, { token: await world.token({ user }), body })
  return { status: response.status, body: (await response.json()) as { source: { digest: string } } }
}
const propose = (folder: string) =>
  call('dan', '/sources', {
    id: 'notes',
    kind: 'folder',
    collections: ['shared'],
    settings: { folder, access: { viewers: ['user:anne'] } },
  })
const sync = async () => {
  await world.database.query('update sources set next_at = now()')
  await world.service.sources.runDue()
  await new Promise((resolve) => setTimeout(resolve, 700))
}
const finds = async (user: string) => {
  const { results } = await world.retrieve(await world.token({ user }), { query: 'otter' })
  return results.map(({ document_id }) => document_id)
}

test('a folder that the machine names is read, and no other one, by whatever path', async () => {
  for (const folder of [
    join(root, 'private'),
    join(root, 'shared', '..', 'private'),
    `${root}/shared/../private`,
    root,
    '/',
    `${root}/shared/`,
  ])
    expect(await propose(folder), folder).toMatchObject({ status: 422, body: { field: 'settings' } })
  const { body } = await propose(join(root, 'shared'))
  expect(
    await call('carol', '/sources/notes', { action: 'confirm', digest: body.source.digest }),
  ).toMatchObject({
    status: 200,
  })
  await sync()
  expect(await finds('anne')).toEqual(['notes/otter.md'])
  expect(await finds('bob')).toEqual([])
}, 120_000)

test('what is stored of a source decides nothing that the machine does not allow', async () => {
  await world.database.query(
    `update sources set origin = $1, settings = jsonb_set(settings, '{folder}', to_jsonb($2::text))`,
    [pathToFileURL(join(root, 'private')).href, join(root, 'private')],
  )
  await sync()
  expect(await finds('anne')).toEqual(['notes/otter.md'])
  const [row] = await world.database.query<{ problem: string }>('select problem from sources')
  expect(row?.problem).toMatch(/none of SOURCE_ORIGINS/)
}, 120_000)
