import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type IngestWorld, loader, openIngestWorld, type Sketch } from './world.ts'

/** Documents in the folder. */
const count = 12

let world: IngestWorld
let folder: string
beforeAll(async () => {
  world = await openIngestWorld()
  folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
  for (let at = 0; at < count; at++) await writeFile(join(folder, `${at}.txt`), `All about ${at}.`)
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

/** Takes documents by HTTP as the service does, without asking who sends them. `arrived` is told of each. */
async function listen(arrived: (nth: number) => Promise<void>) {
  let nth = 0
  async function answer(request: IncomingMessage): Promise<string> {
    const sketch = (await json(request)) as Sketch
    await arrived(++nth)
    const job = await world.ingest.waitForJob(
      await world.put(sketch),
      loader.subject,
      AbortSignal.timeout(15_000),
    )
    return JSON.stringify({ job })
  }
  const server = createServer((request, response) => {
    // As of a process that is dead: nothing arrives any more.
    answer(request).then(
      (body) => response.writeHead(200, { 'content-type': 'application/json' }).end(body),
      () => request.socket.destroy(),
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    url: `http://127.0.0.1:${address.port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function ingest(url: string): { readonly child: ChildProcess; readonly ended: Promise<string> } {
  const argv = ['ingest', folder, '--collection', 'closed', '--viewer', 'user:bob', '--url', url]
  const child = spawn(process.execPath, ['src/cli/main.ts', ...argv], {
    env: { ...process.env, REMIT_TOKEN: 'not.looked.at', REMIT_HOME: join(folder, '.home') },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (part) => (said += String(part)))
  return { child, ended: once(child, 'close').then(() => said) }
}

/** On a busy machine lines before it say how far it is. */
const lastOf = (said: string): string | undefined => said.trim().split('\n').at(-1)

test('a folder whose service and then whose command is killed in the middle is in whole, and nothing of it twice', async () => {
  const killed = Promise.withResolvers<void>()
  await using service = await listen(async (nth) => {
    // A service that never answered is not waited for.
    if (nth === 6) await world.kill()
    if (nth !== 11) return
    run.child.kill('SIGKILL')
    killed.resolve()
  })
  const run = ingest(service.url)
  await Promise.race([killed.promise, run.ended])
  expect(await run.ended).toContain('Trying again')
  const rest = await ingest(service.url).ended
  expect(lastOf(rest)).toMatch(/^12 of 12 files are in closed \(\d+ unchanged\), 0 failed, 0 skipped\.$/)
  // What was accepted and not published when it was sent again has a second revision, and the first no
  // effect.
  const rows = await world.database.query(
    `select count(*) as documents, sum(chunk_count)::int as passages,
       (select count(*) from chunks) as stored, (select count(*) from revisions) + (select count(*) from staged_chunks) as left
     from documents where live_revision is not null`,
  )
  expect(rows).toEqual([{ documents: count, passages: count, stored: count, left: 0 }])
  for (let at = 0; at < count; at++)
    expect(await world.sees('user:bob', `closed/${at}.txt`)).toBe(`All about ${at}.`)
  expect(lastOf(await ingest(service.url).ended)).toBe(
    `${count} of ${count} files are in closed (${count} unchanged), 0 failed, 0 skipped.`,
  )
}, 120_000)
