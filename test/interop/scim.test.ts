import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { listen } from '../../src/start.ts'
import { type DirectoryWorld, openDirectoryWorld } from '../directory/world.ts'
import { native, needsInteropPython } from '../support/native.ts'
import { freePort } from '../support/port.ts'
import type { Said } from './person.ts'

const folder = fileURLToPath(new URL('python', import.meta.url))

describe.each(['externalId', 'userName'] as const)(
  'SCIM by libraries for Python, keyed by %s',
  needsInteropPython,
  (keyAttribute) => {
    let world: DirectoryWorld
    let listening: AsyncDisposable
    let url: string
    let token: string
    beforeAll(async () => {
      if (needsInteropPython.skip === true) return
      const port = await freePort()
      url = `http://127.0.0.1:${port}`
      world = await openDirectoryWorld({ keyAttribute, env: { PORT: String(port), PUBLIC_URL: url } })
      listening = await listen({
        fetch: world.service.app.fetch,
        host: '127.0.0.1',
        port,
        drainMs: 100,
      })
      token = (await world.service.directories.issueToken('acme', { days: 1, isOnly: false })).token
    })
    afterAll(async () => {
      await listening?.[Symbol.asyncDispose]()
      await world?.[Symbol.asyncDispose]()
    })

    /** Runs a program to its end; gives the lines that it said. */
    async function run(program: string): Promise<Said[]> {
      const asked = JSON.stringify({ url: `${url}/scim/v2`, token })
      const { stdout } = await promisify(execFile)('python3', [`${folder}/${program}.py`, asked], {
        env: { PATH: process.env['PATH'], PYTHONPATH: native.interopPython, PYTHONDONTWRITEBYTECODE: '1' },
        maxBuffer: 10_000_000,
      })
      return stdout
        .trim()
        .split('\n')
        .map((line): Said => JSON.parse(line))
    }

    test('scim2-tester finds nothing wrong', { timeout: 240_000 }, async () => {
      const said = await run('with_scim2_tester')
      const failed = said.filter(({ status }) => status !== 'SUCCESS')
      expect(failed).toEqual([])
      expect(said.length).toBeGreaterThan(40)
    })

    test('scim2-client: discovery → create → filter → PATCH → PUT → deactivation → DELETE', {
      timeout: 120_000,
    }, async () => {
      const before = (await world.scim('GET', '/Users?count=0')).body['totalResults']
      expect(await run('with_scim2_client')).toEqual([
        { shows: 'discovery', models: ['Group', 'User'] },
        { shows: 'create', user: 'anne@acme.test', members: 1, etag: true },
        { shows: 'filter', total: 1, ids: [true] },
        { shows: 'patch', members: 2 },
        { shows: 'replace', name: 'Anne B.' },
        // Who is deactivated stays a member, for when they are back.
        { shows: 'deactivate', members: 2 },
        { shows: 'delete', left: Number(before) + 1 },
      ])
    })
  },
)
