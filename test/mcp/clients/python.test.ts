import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { digestOf } from '../../../src/delegation/approvals/view.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../../delegation/issuer/world.ts'
import { openChromium } from '../../support/chromium.ts'
import { native, needsChromium, needsMcpPython } from '../../support/native.ts'

// A client of others, in another language: the Python SDK, which shares no code with the ones above.

const program = fileURLToPath(new URL('client.py', import.meta.url))

interface Said {
  readonly open?: string
  readonly decide?: string
  readonly called?: string
  readonly error?: boolean
  readonly result?: unknown
  readonly revision?: string
  readonly tools?: readonly string[]
}

describe('with the Python SDK', needsMcpPython, () => {
  describe('and a person in a browser', needsChromium, () => {
    let world: IssuerWorld
    beforeAll(async () => {
      world = await openIssuerWorld()
      const secret = { viewers: ['user:anne'], sensitive: true }
      await world.put({
        'handbook/travel': { text: 'Travel budget: 900.', access: { viewers: ['user:anne'] } },
        'handbook/board': { text: 'Travel budget of the board.', access: secret },
      })
    })
    afterAll(() => world?.[Symbol.asyncDispose]())

    async function agree(page: Page, url: string): Promise<string> {
      const returned = page.waitForRequest((request) => request.url().startsWith('http://127.0.0.1:49152/'))
      await page.goto(url)
      if (await page.getByLabel('Password').isVisible()) {
        await page.getByLabel('Account').fill('anne')
        await page.getByLabel('Password').fill(password)
        await page.getByRole('button', { name: 'Sign in', exact: true }).click()
      }
      await page.getByLabel('The handbook').check()
      await page.getByRole('button', { name: 'Agree' }).click()
      return (await returned).url()
    }

    async function approve(url: string): Promise<void> {
      const { approvals } = world.service
      const id = url.split('/').at(-1) ?? ''
      const shown = await approvals.oneOfMine('user:anne', id)
      if (shown === undefined) throw new Error('It is not shown to anne.')
      const session = { person: 'anne', subject: 'user:anne' as const, verifiedAt: new Date() }
      await approvals.decide('user:anne', id, { answer: 'approve' }, { digest: digestOf(shown), session })
    }

    test('one sign-in by browser, for what the first 401 names → search → reading → approval → reading what it opens', {
      timeout: 120_000,
    }, async () => {
      await using browser = await openChromium()
      await browser.context.route('http://127.0.0.1:49152/**', (route) => route.fulfill({ body: 'Back.' }))
      const env = { PATH: process.env['PATH'], PYTHONPATH: native.mcpPython }
      const child = spawn('python3', [program, `${world.url}/mcp`, world.issuer, 'travel budget'], { env })
      let stderr = ''
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
      const ended = once(child, 'close')
      const all: Said[] = []
      for await (const line of createInterface(child.stdout)) {
        const said = JSON.parse(line) as Said
        all.push(said)
        if (said.open !== undefined) child.stdin.write(`${await agree(browser.page, said.open)}\n`)
        if (said.decide === undefined) continue
        await approve(said.decide)
        child.stdin.write('\n')
      }
      expect([(await ended)[0], stderr]).toEqual([0, expect.not.stringContaining('Traceback')])

      const scopes = all.flatMap(({ open }) =>
        open === undefined ? [] : [new URL(open).searchParams.get('scope')],
      )
      expect(scopes.map((scope) => scope?.split(' ').sort())).toEqual([
        // It asks for what keeps a sign-in of itself, since the authorization server has it.
        ['approvals.request', 'docs.read', 'docs.search', 'offline_access', 'vault.use'],
      ])
      expect(all.find(({ revision }) => revision !== undefined)).toMatchObject({
        revision: '2026-07-28',
        tools: expect.arrayContaining(['retrieve', 'request_approval']),
      })
      expect(all.find(({ decide }) => decide !== undefined)?.decide).toContain(`${world.url}/approvals/ap_`)
      const calls = all.filter(({ called }) => called !== undefined)
      expect(calls.map(({ called, error }) => [called, error])).toEqual([
        ['retrieve', false],
        ['read_document', false],
        ['request_approval', true],
        ['retrieve', false],
        ['request_approval', false],
        ['retrieve', false],
      ])
      const texts = calls.map(({ result }) => JSON.stringify(result))
      expect(texts.map((text) => text.includes('Travel budget of the board.'))).toEqual([
        false,
        false,
        false,
        false,
        false,
        true,
      ])
      expect(calls[4]?.result).toMatchObject({ state: 'approved', grant_id: expect.stringMatching(/^g_/) })
    })
  })
})
