import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Browser, openBrowser, type Page } from '../delegation/issuer/browser.ts'
import { type Authenticator, createAuthenticator } from '../support/authenticator.ts'
import { programEnv } from '../support/program-env.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const slow = 120_000

/** One terminal: what was typed and said, and a way to type more. */
interface Terminal {
  said(): string
  /** What was said since the last cut, as the documentation shows it: once the text is there. */
  cut(text: string): Promise<string>
  /** Waits until a line holds the text, after what was seen before; gives that line. */
  line(text: string): Promise<string>
  type(text: string): void
  readonly exit: Promise<number | null>
  interrupt(): void
  kill(): void
}

/** Parts of both terminals by the name that the page has for them. */
const parts = new Map<string, string>()

let folder: string
let env: Readonly<Record<string, string>>
let url: string
let market: string
const terminals: Terminal[] = []

function open(person?: string): Terminal {
  const { HOME = '' } = process.env
  const child = spawn(
    process.execPath,
    ['examples/assistant/main.ts', ...(person === undefined ? [] : ['--person', person])],
    {
      cwd: root,
      env: { ...programEnv, HOME, ...env },
    },
  )
  let said = ''
  let seen = 0
  let cutAt = 0
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
  const exit = once(child, 'close').then(([code]) => code as number | null)
  const terminal: Terminal = {
    said: () => said,
    async line(text) {
      await expect
        .poll(() => said.indexOf(text, seen), {
          timeout: 60_000,
          interval: 50,
          message: `${person}: ${text}\n${said}`,
        })
        .toBeGreaterThan(-1)
      const at = said.indexOf(text, seen)
      seen = at + text.length
      const end = said.indexOf('\n', at)
      return said.slice(said.lastIndexOf('\n', at) + 1, end === -1 ? undefined : end)
    },
    async cut(text) {
      await expect.poll(() => said.slice(cutAt), { timeout: 20_000, interval: 50 }).toContain(text)
      const part = said.slice(cutAt)
      cutAt = said.length
      return shown(part)
    },
    type: (text) => void child.stdin.write(`${text}\n`),
    exit,
    interrupt: () => void child.kill('SIGINT'),
    kill: () => void child.kill('SIGKILL'),
  }
  terminals.push(terminal)
  return terminal
}

/** With the page's ports, folder, codes and ids in the place of this run's. */
const shown = (text: string): string =>
  text
    .replaceAll(
      /(localhost|127\.0\.0\.1):(\d+)/g,
      (_, host: string, port: string) => `${host}:${8810 + Number(port) - Number(env['ASSISTANT_PORT'])}`,
    )
    .replaceAll(folder, '…/.remit-assistant')
    .replaceAll(/\b[A-Z]{4}-[A-Z]{4}\b/g, 'WDJB-MJHT')
    .replaceAll(/\b(ap|cr)_[\w-]{22}/g, '$1_…')

/** A person at their own browser. What the assistant cannot do, they do here. */
interface Person {
  readonly terminal: Terminal
  readonly browser: Browser
}

async function signedIn(name: string, terminal: Terminal): Promise<Person> {
  const [, address = '', code = ''] =
    /open (\S+) and enter the code (\S+)/.exec(await terminal.line('Sign in as')) ?? []
  const [, password = ''] =
    new RegExp(`^${name} +(\\S+)$`, 'm').exec(await readFile(join(folder, 'remit/demo-passwords'), 'utf8')) ??
    []
  const browser = openBrowser(url)
  const confirm = await browser.submit(await browser.open(address), '/oauth/device', { user_code: code })
  const signIn = await browser.submit(confirm, '/oauth/device')
  const consent = await browser.submit(signIn, '/sign-in', { user: name, password })
  const done = await browser.submit(consent, '/consent', { object: 'collection:research', seconds: '3600' })
  expect(done.text).toContain('Connected')
  await terminal.line('Signed in')
  // On our own pages, for what is asked later.
  const own = await browser.open(`${url}/sign-in?next=/approvals`)
  if (own.text.includes('name="password"')) {
    const [, action = ''] = /action="(\/sign-in\?[^"]*)"/.exec(own.text) ?? []
    await browser.submit(own, action, { user: name, password })
  }
  return { terminal, browser }
}

/** The page of the question that waits for this person. */
async function question({ browser }: Person): Promise<Page> {
  const list = await browser.open(`${url}/approvals`)
  const [, id] = /href="\/approvals\/(ap_[\w-]+)"/.exec(list.text) ?? []
  if (id === undefined) throw new Error(`Nothing waits:\n${list.text}`)
  return browser.open(`${url}/approvals/${id}`)
}

async function decide(person: Person, decision: 'approve' | 'deny', fields = {}): Promise<Page> {
  const page = await question(person)
  const answered = await person.browser.submit({ ...page, text: formOf(page, decision) }, '/decision', fields)
  expect(answered.status).toBe(200)
  return page
}

const formOf = ({ text }: Page, decision: string): string =>
  [...text.matchAll(/<form[\s\S]*?<\/form>/g)]
    .map(([form]) => form)
    .find((form) => form.includes(`value="${decision}"`)) ?? ''

const optionsOf = (text: string) =>
  JSON.parse((/data-options="([^"]*)"/.exec(text)?.[1] ?? '').replaceAll('&quot;', '"')) as {
    challenge: string
    user: { id: string }
  }

async function addPasskey({ browser }: Person): Promise<Authenticator> {
  const device = createAuthenticator(url)
  const page = await browser.open(`${url}/passkeys`)
  await browser.submit(page, '/passkeys', {
    answer: JSON.stringify(device.make(optionsOf(page.text))),
    title: 'Phone',
  })
  return device
}

const move = (symbol: string, price: string) =>
  fetch(`${market}/price`, {
    method: 'POST',
    body: new URLSearchParams({ symbol, price }),
    redirect: 'manual',
  })

beforeAll(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'remit-assistant-')), 'demo')
  const port = await fourFreePorts()
  url = `http://localhost:${port}`
  market = `http://127.0.0.1:${port + 3}`
  env = {
    ASSISTANT_HOME: folder,
    ASSISTANT_PORT: String(port),
    ASSISTANT_LOOK_SECONDS: '0.5',
    // A folder in which there is none: nothing is fetched.
    EMBEDDINGS_MODEL_PATH: join(folder, 'no-model'),
  }
})
afterAll(async () => {
  for (const terminal of terminals) terminal.kill()
  await rm(join(folder, '..'), { recursive: true, force: true })
})

describe('npm run demo:assistant', { timeout: slow }, () => {
  let anne: Person
  let bob: Person

  test('starts all that it needs; two people sign in to two conversations at once', async () => {
    const first = open('anne')
    await first.line('Started: Remit at')
    const second = open('bob')
    await second.line('They run already')
    ;[anne, bob] = await Promise.all([signedIn('anne', first), signedIn('bob', second)])
    parts.set('anne signs in', await first.cut('Signed in'))
    parts.set('bob signs in', await second.cut('Signed in'))
  })

  test('answers one from a note with its source, and finds nothing for the other, who may not read it', async () => {
    for (const { terminal } of [anne, bob])
      terminal.type('How close to insolvency is the supplier of springs?')
    expect(await anne.terminal.line('[research/acme-supply.md]')).toMatch(
      /^The supplier of ACME's springs is close/,
    )
    await bob.terminal.line('I find nothing about that')
    expect(bob.terminal.said()).not.toContain('acme-supply')
    parts.set('anne asks', await anne.terminal.cut('[research/acme-supply.md]'))
    parts.set('bob asks', await bob.terminal.cut('I find nothing'))
  })

  test('asks before it reads what is sensitive, and reads it after a yes on the person’s own page', async () => {
    const device = await addPasskey(anne)
    for (const { terminal } of [anne, bob])
      terminal.type('Does Brixworth hold merger talks, and at what offer?')
    expect(await anne.terminal.line('A sensitive note may answer this')).toMatch(/\/approvals\/ap_/)
    expect(anne.terminal.said()).not.toContain('Northlight')
    const page = await question(anne)
    const answer = JSON.stringify(device.answer(optionsOf(page.text)))
    await decide(anne, 'approve', {
      answer,
      document: 'research/brix-merger.md',
      extent: 'once',
      seconds: '900',
    })
    expect(await anne.terminal.line('[research/brix-merger.md]')).toContain('Northlight')
    await bob.terminal.line('I find nothing about that')
    expect(bob.terminal.said()).not.toMatch(/sensitive note|Northlight|brix-merger/)
    parts.set('anne releases', await anne.terminal.cut('[research/brix-merger.md]'))
    parts.set('bob is not asked', await bob.terminal.cut('I find nothing'))
  })

  test('buys what the person agreed to, once, and nothing after a no', async () => {
    anne.terminal.type('buy 10 ACME for at most 125.00')
    bob.terminal.type('buy 3 BRIX for at most 60.00')
    await Promise.all([anne, bob].map(({ terminal }) => terminal.line('Your yes is needed')))
    expect(anne.terminal.said()).toContain(
      'trading-assistant wants to buy 10 ACME for you, at most 1,250.00 USD',
    )
    const [shown, other] = await Promise.all([
      decide(anne, 'approve'),
      decide(bob, 'deny', { reason: 'Too dear' }),
    ])
    expect(shown.text).toContain('trading-assistant wants to buy 10 ACME for you, at most 1,250.00 USD')
    expect(other.text).not.toContain('ACME')
    await anne.terminal.line('Done: 10 ACME.')
    expect(await bob.terminal.line('You said no')).toContain('Too dear')
    expect(bob.terminal.said()).not.toContain('Done:')
    parts.set('anne buys', await anne.terminal.cut('Done: 10 ACME.'))
    parts.set('bob refuses', await bob.terminal.cut('Too dear'))
  })

  test('that orders eleven of ten is refused by the broker', async () => {
    anne.terminal.type('/dishonest')
    anne.terminal.type('buy 10 ACME for at most 124.00')
    await anne.terminal.line('Your yes is needed')
    await decide(anne, 'approve')
    await anne.terminal.line('I order 11')
    expect(await anne.terminal.line('The broker refused')).toContain('403')
    await anne.terminal.line('Nothing was bought')
    anne.terminal.type('/dishonest')
    await anne.terminal.line('From now on I order what')
    parts.set('eleven', await anne.terminal.cut('I order what'))
  })

  test('looks up a price through the vault, with an account that the person connects in their browser', async () => {
    anne.terminal.type('what is the price of BRIX?')
    const [address = ''] = /http\S+$/.exec(await anne.terminal.line('Connect it in your browser')) ?? []
    const ask = await anne.browser.open(address)
    const onwards = await anne.browser.submit(ask, '/connect', { rule: 'Read quotes' })
    const [, away = ''] = /<a href="([^"]*)"/.exec(onwards.text) ?? []
    const { origin, searchParams } = new URL(away.replaceAll('&amp;', '&'))
    expect(origin).toBe(market)
    const form = new URLSearchParams({ ...Object.fromEntries(searchParams), account: 'anne-k' })
    const back = await fetch(`${market}/authorize`, { method: 'POST', body: form, redirect: 'manual' })
    expect((await anne.browser.open(back.headers.get('location') ?? '')).status).toBe(200)
    expect((await anne.browser.open(`${url}/connections/finish`)).text).toContain('anne-k')
    await anne.terminal.line('BRIX is at 54.20 USD.')
    parts.set('anne connects', await anne.terminal.cut('BRIX is at 54.20 USD.'))
  })

  test('waits for a price in the background, and asks when it is there, not before', async () => {
    anne.terminal.type('buy 5 BRIX for at most 50.00 when it falls below 50')
    await anne.terminal.line('I wait for BRIX below 50')
    anne.terminal.type('What is the fair value of ACME a share?')
    await anne.terminal.line('[research/acme-outlook.md]')
    const before = await anne.browser.open(`${url}/approvals`)
    expect(before.text).not.toContain('buy 5 BRIX')
    await move('BRIX', '48.90')
    await anne.terminal.line('BRIX is at 48.90, below 50.00')
    await anne.terminal.line('Your yes is needed')
    await decide(anne, 'approve')
    await anne.terminal.line('Bought 5 BRIX')
    parts.set('anne waits', await anne.terminal.cut('Bought 5 BRIX'))
  })

  test('takes nobody but Anne and Bob for who types, and no question for a name', async () => {
    const unknown = open('carol')
    expect(await unknown.exit).toBe(1)
    expect(unknown.said()).toBe('--person takes anne or bob.\n')
    const asking = open()
    asking.type('How close to insolvency is the supplier of springs?')
    asking.type('')
    expect(await asking.exit).toBe(0)
    expect(asking.said().split('Who are you')).toHaveLength(3)
    expect(asking.said()).not.toContain('Sign in as')
  })

  test('two conversations never cross: no note, order, account or question of one in the other', () => {
    const said = ({ terminal }: Person) => terminal.said().replace(/^· You are the market.*$/gm, '')
    expect(said(bob)).not.toMatch(/anne|ACME at|acme-supply|brix-merger|48\.90|Connect it|eleven/i)
    expect(said(anne)).not.toMatch(/bob|3 BRIX|Too dear/)
  })

  test('the assistant’s folder and words hold no token and no password', async () => {
    const passwords = (await readFile(join(folder, 'remit/demo-passwords'), 'utf8')).match(/\S+$/gm) ?? []
    const logs = (await readdir(folder))
      .filter((name) => name.endsWith('.log'))
      .map((name) => readFileSync(join(folder, name), 'utf8'))
    for (const text of [anne.terminal.said(), bob.terminal.said(), ...logs]) {
      expect(text).not.toMatch(/eyJ[\w-]+\.[\w-]+\./)
      for (const password of passwords) expect(text).not.toContain(password)
    }
  })

  test('docs/assistant.md shows what was said here (renew: npx vitest run test/e2e/assistant.test.ts -u)', async () => {
    const path = join(root, 'docs/assistant.md')
    const block = /(<!-- terminal: (.*?) -->\n```console\n)[^`]*```/g
    const page = await readFile(path, 'utf8')
    expect([...page.matchAll(block)].map(([, , name = '']) => name).sort()).toEqual([...parts.keys()].sort())
    const real = page.replaceAll(block, (_, head: string, name: string) => `${head}${parts.get(name)}\`\`\``)
    await expect(real).toMatchFileSnapshot(path)
  })

  test('a second command on taken ports names them; Ctrl-C ends everything that it started', async () => {
    bob.terminal.type('')
    expect(await bob.terminal.exit).toBe(0)
    anne.terminal.interrupt()
    expect(await anne.terminal.exit).toBe(0)
    await expect(fetch(`${url}/healthz`)).rejects.toThrow('fetch failed')
    await expect(fetch(market)).rejects.toThrow('fetch failed')
    const taken = createServer().listen(Number(new URL(market).port), '127.0.0.1')
    await once(taken, 'listening')
    const third = open('anne')
    expect(await third.exit).toBe(1)
    expect(third.said()).toMatch(
      /Port \d+ \(market\) of 127\.0\.0\.1 is taken by another process: .*ASSISTANT_PORT=\d+/,
    )
    taken.close()
  })
})

async function fourFreePorts(): Promise<number> {
  for (let from = 20_000 + Math.floor(Math.random() * 20_000); ; from += 4) {
    const servers = [0, 1, 2, 3].map((more) => createServer().listen(from + more, '127.0.0.1'))
    const free = await Promise.all(
      servers.map((server) =>
        Promise.race([
          once(server, 'listening').then(() => true),
          once(server, 'error').then(() => false),
        ]).catch(() => false),
      ),
    )
    for (const server of servers) server.close()
    if (free.every(Boolean)) return from
  }
}
