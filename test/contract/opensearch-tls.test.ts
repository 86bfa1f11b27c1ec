import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { certificateFor } from '../support/certificate.ts'
import { serve } from '../support/hostile-server.ts'
import { native, needsOpensearch } from '../support/native.ts'

const user = { SEARCH_ENGINE_USER: 'remit', SEARCH_ENGINE_PASSWORD: 'heard-by-the-engine-alone' }
const authorization = `Basic ${Buffer.from('remit:heard-by-the-engine-alone').toString('base64')}`

/** Says of each of the origins in ORIGINS whether the settings lead to an engine there. */
const program = `
  const { loadConfig } = await import('./src/config/config.ts')
  const { createEngine } = await import('./src/retrieval/chunk-index/opensearch/engine.ts')
  const { assertEngine } = await import('./src/retrieval/chunk-index/opensearch/mapping.ts')
  for (const origin of process.env.ORIGINS.split(' ')) {
    const { searchEngine } = loadConfig({ ...process.env, SEARCH_ENGINE_URLS: origin })
    const said = await assertEngine(createEngine({ ...searchEngine, fetch })).then(() => 'taken', ({ message }) => message)
    console.log(said)
  }`

describe('an OpenSearch behind TLS', needsOpensearch, () => {
  let folder: string
  let ca: string
  const servers: Awaited<ReturnType<typeof serve>>[] = []
  const answering = async (name: string) => {
    const tls = certificateFor(name)
    const server = await serve(
      ({ url, headers }, response) => {
        const answer = (status: number, body: string) =>
          response.writeHead(status, { 'content-type': 'application/json' }).end(body)
        // As a gateway may that says what it was asked.
        if (headers.authorization !== authorization) answer(401, JSON.stringify(headers))
        else
          void fetch(`${native.opensearch}${url}`).then(async (real) =>
            answer(real.status, await real.text()),
          )
      },
      { tls },
    )
    servers.push(server)
    return { server, origin: `https://localhost:${server.port}`, cert: tls.cert }
  }
  let ours: Awaited<ReturnType<typeof answering>>
  let another: Awaited<ReturnType<typeof answering>>
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
    ca = join(folder, 'ca.pem')
    ours = await answering('localhost')
    another = await answering('search.example')
    await writeFile(ca, `${ours.cert}${another.cert}`)
  })
  afterAll(async () => {
    for (const server of servers) await server[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  })

  const run = async (env: Readonly<Record<string, string>>): Promise<string> => {
    const { PATH = '', HOME = '' } = process.env
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '--eval', program],
      { env: { PATH, HOME, ...user, ...env } },
    )
    return stdout + stderr
  }

  test('is taken under the CA that is named, by its own name alone, and hears the password', async () => {
    const said = await run({ NODE_EXTRA_CA_CERTS: ca, ORIGINS: `${ours.origin} ${another.origin}` })
    expect(said).toMatch(/^taken\nThe search engine refuses: .+\.\n$/)
    expect(ours.server.seen.map(({ url }) => url)).toEqual([
      '/',
      '/_cluster/settings?include_defaults=true&flat_settings=true',
    ])
    expect(another.server.seen).toEqual([])
  })

  test('is refused under a CA that nobody named, and hears nothing', async () => {
    const heard = ours.server.seen.length
    expect(await run({ ORIGINS: ours.origin })).toMatch(/^The search engine refuses: .+\.\n$/)
    expect(ours.server.seen).toHaveLength(heard)
  })

  test('that refuses who Remit is there is told of without the password', async () => {
    const wrong = { SEARCH_ENGINE_PASSWORD: 'wrong-one' }
    const said = await run({ NODE_EXTRA_CA_CERTS: ca, ORIGINS: ours.origin, ...wrong })
    expect(said).toBe('The search engine refuses: HTTP 401.\n')
  })
})
