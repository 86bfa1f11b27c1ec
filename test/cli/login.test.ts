import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, test } from 'vitest'
import type { DemoTokens } from '../../src/cli/demo-tokens.ts'
import { createSignInStore } from '../../src/cli/sign-in-store.ts'
import { createSignIns } from '../../src/cli/sign-ins.ts'
import type { Fetch } from '../../src/delegation/tokens/fetch-json.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { noDemo, type Ran, remit } from './world.ts'

// Polling begins after five seconds.
const slow = 25_000

let world: IssuerWorld
beforeAll(async () => {
  world = await openIssuerWorld()
  await world.put({ 'handbook/travel': { text: 'Travel.', access: { viewers: ['user:anne'] } } })
  await world.service.administrators.add('user:dan', ['security.read'])
  await world.service.index.catchUp()
})
afterAll(() => world?.[Symbol.asyncDispose]())

/** One person's own folder, with a clock that a test may move. */
const it = test.extend<{ at: Awaited<ReturnType<typeof openPlace>> }>({
  at: async ({}, use) => {
    const folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
    await use(openPlace(join(folder, 'remit')))
    await rm(folder, { recursive: true })
  },
})

interface Answers {
  readonly user?: string
  readonly argv?: readonly string[]
  /** What is done in the browser instead of agreeing. */
  readonly refuse?: boolean
}

function openPlace(dir: string) {
  let now = Date.now()
  const signIns = () => createSignIns({ store: createSignInStore(dir), fetch, now: () => now })

  const run = (
    argv: readonly string[],
    more: {
      envToken?: string
      fetch?: Fetch
      demoTokens?: DemoTokens
      onSaid?: (text: string) => void
    } = {},
  ) => remit(argv, { home: join(dir, 'no-service') }, { url: world.url, signIns: signIns(), ...more })

  /** `remit login`, with the person at a browser elsewhere. */
  async function login({
    user = 'anne',
    argv = [],
    refuse = false,
  }: Answers = {}): Promise<Ran & { readonly pages: string[] }> {
    const pages: string[] = []
    let said = ''
    let browsing: Promise<void> | undefined
    async function browse(code: string): Promise<void> {
      const browser = world.browser()
      const entry = await browser.open(`${world.issuer}/device`)
      const confirm = await browser.submit(entry, '/oauth/device', { user_code: code })
      pages.push(confirm.text)
      const asked = await browser.submit(confirm, '/oauth/device')
      const consent = await browser.submit(asked, '/sign-in', { user, password: 'correct horse battery' })
      pages.push(consent.text)
      const answer = refuse ? '/refuse' : '/consent'
      pages.push((await browser.submit(consent, answer, { seconds: '3600' })).text)
    }
    const ran = await run(['login', ...argv], {
      onSaid(text) {
        said += text
        const code = /code: +(\S+)\n/.exec(said)?.[1]
        if (code !== undefined) browsing ??= browse(code)
      },
    })
    await browsing
    return { ...ran, pages }
  }

  async function file(): Promise<{ path: string; kept: Record<string, string> }> {
    const [name = ''] = (await readdir(dir)).filter((entry) => entry.endsWith('.json'))
    const path = join(dir, name)
    return { path, kept: JSON.parse(await readFile(path, 'utf8')) as Record<string, string> }
  }

  const later = (ms: number): void => {
    now += ms
  }
  return { dir, now, later, signIns, run, login, file }
}

const search = async (token: string | undefined) =>
  (await world.call('POST', '/retrieve', { token: token ?? '', body: { query: 'travel' } })).status

// Beside each other: each has a folder of its own, and waits for its sign-in.
describe.concurrent('remit login', () => {
  it('login shows address and code, opens nothing, and keeps what it gets in a file of 0600 in a folder of 0700', {
    timeout: slow,
  }, async ({ at, expect }) => {
    const ran = await at.login()
    expect(ran).toMatchObject({ code: 0, stdout: '' })
    expect(ran.stderr).toContain(`Open this page in a browser:  ${world.issuer}/device\n`)
    expect(ran.stderr).toContain(`Signed in as anne at ${world.url}, for: docs.search docs.read\n`)
    const { path, kept } = await at.file()
    expect((await stat(at.dir)).mode & 0o777).toBe(0o700)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(path).toBe(join(at.dir, `${encodeURIComponent(world.url)}.json`))
    expect(decodeJwt(kept['access_token'] ?? '')).toMatchObject({ sub: 'anne', client_id: 'remit-cli' })
    expect(decodeJwt(kept['access_token'] ?? '')).not.toHaveProperty('act')
    expect(await search(kept['access_token'])).toBe(200)
    // Before anybody signs in, the page names the program and the code, and warns of codes that others sent.
    const [confirm] = ran.pages
    expect(confirm).toContain('Remit on the command line')
    expect(confirm).toContain(/code: +(\S+)\n/.exec(ran.stderr)?.[1] ?? 'no code')
    expect(confirm).toContain('somebody sent it to you')
    expect(confirm).not.toContain('name="password"')
  })

  it('an administrator’s rights are given where the role is, and are not even offered elsewhere', {
    timeout: slow,
  }, async ({ at, expect }) => {
    const [anne, dan] = [await at.login(), await at.login({ user: 'dan' })]
    expect(anne.pages[1]).not.toContain('security records')
    expect(dan.pages[1]).toContain('security records')
    expect(dan.pages[1]).not.toContain('security settings')
    expect(dan.stderr).toContain('for: docs.search docs.read security.read\n')
    const explained = await at.run(['explain', 'user:anne', 'can_read', 'document:handbook/travel'])
    expect(explained).toMatchObject({ code: 0, stderr: '' })
    expect(explained.stdout).toContain('user:anne has can_read of document:handbook/travel.')
    // REMIT_TOKEN wins.
    const envToken = await world.token({ user: 'anne', scopes: ['docs.read'] })
    const other = await at.run(['explain', 'user:anne', 'can_read', 'document:handbook/travel'], { envToken })
    expect(other).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('403') })
  })

  it('whoami asks the service; the sign-in is refreshed by itself, once for many at the same time; logout ends all of it', {
    timeout: slow,
  }, async ({ at, expect }) => {
    await at.login()
    const whoami = await at.run(['whoami'])
    expect(whoami.code).toBe(0)
    expect(whoami.stdout).toMatch(
      new RegExp(`^anne at ${world.url}\nmay: docs.search docs.read\nsigned in: \\d{4}-.*Z\n$`),
    )
    const { kept: before } = await at.file()
    at.later(280_000)
    const tokens = await Promise.all(Array.from({ length: 5 }, () => at.signIns().token(world.url)))
    expect(new Set(tokens).size).toBe(1)
    expect(tokens[0]).not.toBe(before['access_token'])
    const { kept: after } = await at.file()
    expect(after['refresh_token']).not.toBe(before['refresh_token'])
    expect(await search(tokens[0])).toBe(200)

    const out = await at.run(['logout'])
    expect(out).toMatchObject({ code: 0, stdout: '' })
    expect(out.stderr).toContain(`Signed out at ${world.url}.`)
    expect((await readdir(at.dir)).filter((name) => name.endsWith('.json'))).toEqual([])
    expect(await search(tokens[0])).toBe(401)
    const refresh = await fetch(`${world.issuer}/token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'refresh_token',
        client_id: 'remit-cli',
        refresh_token: after['refresh_token'] ?? '',
      }),
    })
    expect(refresh.status).toBe(400)
    expect(await at.run(['whoami'])).toMatchObject({ code: 1, stdout: '' })
    expect((await at.run(['logout'])).stderr).toContain('You are not signed in')
  })

  it('a sign-in that the service has ended is forgotten, and says what to do', {
    timeout: slow,
  }, async ({ at, expect }) => {
    await at.login()
    const { kept } = await at.file()
    await fetch(`${world.issuer}/token/revocation`, {
      method: 'POST',
      body: new URLSearchParams({ client_id: 'remit-cli', token: kept['refresh_token'] ?? '' }),
    })
    at.later(280_000)
    const ran = await at.run(['whoami'])
    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(ran.stderr).toBe(`Your sign-in at ${world.url} is over. Sign in: npm run remit -- login\n`)
    expect((await at.run(['whoami'])).stderr).toContain('No sign-in is kept here')
  })

  it('signing in anew ends the sign-in before, and whoever refuses gets nothing', {
    timeout: slow,
  }, async ({ at, expect }) => {
    await at.login()
    const { kept } = await at.file()
    await at.login({ argv: ['--scope', 'docs.search'] })
    expect(await search(kept['access_token'])).toBe(401)
    expect(decodeJwt((await at.file()).kept['access_token'] ?? '')).toMatchObject({ scope: 'docs.search' })
    const refused = await at.login({ refuse: true })
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toContain('The sign-in was refused.\n')
  })

  it('a file that others can read, or that is none of ours, is not used', async ({ at, expect }) => {
    const store = createSignInStore(at.dir)
    const kept = { url: world.url, access_token: 'a', expires_at: at.now + 600_000, refresh_token: 'r' }
    await store.save(kept)
    expect(await store.read(world.url)).toEqual(kept)
    const { path } = await at.file()
    await chmod(path, 0o640)
    await expect(store.read(world.url)).rejects.toThrow(`Others can read ${path}.`)
    await chmod(path, 0o600)
    // Put under another's name, its tokens would be sent there.
    await store.save({ ...kept, url: 'https://elsewhere.test' })
    await writeFile(path, await readFile(join(at.dir, 'https%3A%2F%2Felsewhere.test.json')))
    await expect(store.read(world.url)).rejects.toThrow('is not a sign-in at')
    await writeFile(path, '{"url"')
    await expect(store.read(world.url)).rejects.toThrow('is not a sign-in at')
  })

  it('tokens never travel in the clear: a service elsewhere needs https', async ({ at, expect }) => {
    const asked: unknown[] = []
    const fetch: Fetch = async (to) => {
      asked.push(to)
      return Response.json({})
    }
    const explain = ['explain', 'user:anne', 'can_read', 'document:handbook/travel']
    for (const argv of [
      ['login'],
      explain,
      [...explain, '--token', 'a.b.c'],
      ['ingest', at.dir, '--collection', 'handbook', '--viewer', 'user:anne'],
      ['jobs'],
    ]) {
      const ran = await at.run([...argv, '--url', 'http://remit.test'], { envToken: 'a.b.c', fetch })
      expect(ran, argv.join(' ')).toMatchObject({
        code: 1,
        stdout: '',
        stderr: expect.stringContaining('plain http: tokens would travel in the clear'),
      })
    }
    expect(asked).toEqual([])
  })

  it('a token and a person of the demo are not both named: neither is left out silently', async ({
    at,
    expect,
  }) => {
    const asked: unknown[] = []
    const fetch: Fetch = async (to) => {
      asked.push(to)
      return Response.json({})
    }
    for (const argv of [
      ['audit', 'list', '--as', 'dan'],
      ['model', 'show', '--as', 'dan'],
      ['model', 'show', '--user', 'dan'],
      ['source', 'list', '--as', 'dan'],
      ['source', 'list', '--user', 'dan'],
      ['jobs', 'list', '--as', 'dan'],
    ]) {
      const ran = await at.run([...argv, '--token', 'a.b.c'], { fetch })
      expect(ran, argv.join(' ')).toMatchObject({ code: 1, stdout: '' })
      expect(ran.stderr).toContain('--token says who asks already: leave out dan.')
    }
    expect(asked).toEqual([])
  })

  it.for(['model show', 'source list'])(
    'remit %s asks as whom --as names; --user of 0.9.0 says the same, no help names it, and both at once are refused',
    async (line, { at, expect }) => {
      const asked: unknown[] = []
      const demoTokens = {
        ...noDemo,
        person: async ({ user }: { readonly user: string }) => {
          asked.push(user)
          return 'a.b.c'
        },
      }
      const fetch: Fetch = async () => Response.json({}, { status: 403 })
      const run = (...flags: readonly string[]) =>
        at.run([...line.split(' '), ...flags], { fetch, demoTokens })
      await run('--as', 'kim')
      await run('--user', 'dan')
      expect(asked).toEqual(['kim', 'dan'])
      expect((await run('--as', 'kim', '--user', 'dan')).stderr).toContain('cannot be used with')
      expect(asked).toHaveLength(2)
      expect((await run('--help')).stdout).not.toContain('--user')
      expect((await run()).stderr).toContain('in the demo --as NAME does')
    },
  )

  it('a token of the demo goes to the demo alone, whoever it is for', async ({ at, expect }) => {
    const ran = await at.run(['audit', 'list', '--as', 'dan', '--url', 'http://127.0.0.1:9'])
    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(ran.stderr).toContain('http://127.0.0.1:9 is not the demo, whose people alone --as names.')
  })
})
