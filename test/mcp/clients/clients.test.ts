import { DpopSession } from '@modelcontextprotocol/client'
import { McpSignIn } from '@remit/client'
import { decodeJwt } from 'jose'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { clientId, document, openWeb } from '../../delegation/issuer/cimd/web.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../../delegation/issuer/world.ts'
import { decide } from '../../support/approvals.ts'
import { openChromium } from '../../support/chromium.ts'
import { needsChromium } from '../../support/native.ts'
import { type Driven, driveV1, driveV2, isSignInNeeded, type SignIn } from './clients.ts'

// The official clients, as programs use them, and a person in a real browser.

const registered = { client_id: 'public-agent' }
const clients = {
  'v1 (2025-11-25)': { drive: driveV1, client: registered, refreshes: false },
  'v2 (2026-07-28)': { drive: driveV2, client: registered },
  'v2 with a token bound to its key': { drive: driveV2, client: registered, bound: true },
  'v2 that nobody registered, by its document': { drive: driveV2, clientMetadataUrl: clientId },
} as const

interface Kept {
  readonly client?: { readonly client_id: string }
  readonly clientMetadataUrl?: string
  readonly refreshes?: boolean
  readonly bound?: boolean
}

const web = openWeb()

describe('with an official client', needsChromium, () => {
  let world: IssuerWorld
  beforeAll(async () => {
    if (needsChromium.skip === true) return
    web.at.set(clientId, document({ redirect_uris: ['http://127.0.0.1/callback'] }))
    world = await openIssuerWorld({
      env: { CLIENT_ID_METADATA_DOCUMENTS: 'draft-02' },
      outbound: web.fetch,
    })
    await world.put({
      'handbook/travel': { text: 'Travel budget: 900.', access: { viewers: ['user:anne'] } },
      'handbook/board': {
        text: 'Travel budget of the board.',
        access: { viewers: ['user:anne'], sensitive: true },
      },
      'handbook/secret': { text: 'Secret travel budget.', access: { viewers: ['user:bob'] } },
    })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  /**
   * Goes where the program sends the person, signs in if asked, lends the handbook, and gives where it leads
   * back.
   */
  async function consent(page: Page, url: URL): Promise<URL> {
    const returned = page.waitForRequest((request) => request.url().startsWith('http://127.0.0.1:49152/'))
    await page.goto(url.href)
    if (await page.getByLabel('Password').isVisible()) {
      await page.getByLabel('Account').fill('anne')
      await page.getByLabel('Password').fill(password)
      await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    }
    await page.getByLabel('The handbook').check()
    await page.getByRole('button', { name: 'Agree' }).click()
    return new URL((await returned).url())
  }

  async function withPerson<T>(
    driven: Driven,
    opened: readonly URL[],
    page: Page,
    step: () => Promise<T>,
  ): Promise<T> {
    const sent = opened.length
    const error: unknown = await step().then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    expect(isSignInNeeded(error)).toBe(true)
    expect(opened).toHaveLength(sent + 1)
    await driven.finish(await consent(page, opened.at(-1) ?? new URL('about:blank')))
    return step()
  }

  test.each(Object.entries(clients))(
    '%s: one sign-in by browser, for what the first 401 names → search → reading → approval → reading what it opens',
    { timeout: 60_000 },
    async (_, { drive, ...options }) => {
      const { bound = false, clientMetadataUrl, client, ...known }: Kept = options
      await using browser = await openChromium()
      await browser.context.route('http://127.0.0.1:49152/**', (route) => route.fulfill({ body: 'Back.' }))
      const opened: URL[] = []
      const signIn: SignIn = new McpSignIn({
        ...known,
        ...(client !== undefined && { client: { ...client, issuer: world.issuer } }),
        ...(clientMetadataUrl !== undefined && { clientMetadataUrl }),
        ...(bound && { dpop: DpopSession.create() }),
        redirectUrl: 'http://127.0.0.1:49152/callback',
        open: (url) => void opened.push(url),
      })
      await using driven = drive(`${world.url}/mcp`, signIn)

      await withPerson(driven, opened, browser.page, () => driven.connect())
      const everything = 'docs.search docs.read approvals.request vault.use'
      expect(opened[0]?.searchParams.get('scope')).toBe(everything)
      expect(decodeJwt(signIn.tokens()?.access_token ?? '')).toMatchObject({
        sub: 'anne',
        aud: `${world.url}/mcp`,
        // As far as its agent goes: nobody's accounts are for a program that nobody registered.
        scope: clientMetadataUrl === undefined ? everything : 'docs.search docs.read approvals.request',
        act: { sub: clientMetadataUrl === undefined ? 'research-bot' : expect.stringMatching(/^cimd\//) },
        ...(bound && { cnf: { jkt: expect.any(String) } }),
      })
      expect(signIn.tokens()?.token_type.toLowerCase()).toBe(bound ? 'dpop' : 'bearer')

      expect(await driven.tools()).toEqual(
        expect.arrayContaining(['retrieve', 'read_document', 'list_collections']),
      )
      const found = await driven.call('retrieve', { query: 'travel budget' })
      expect(found.structuredContent).toMatchObject({
        content_trust: 'untrusted',
        results: [{ document_id: 'handbook/travel' }],
      })

      const read = await driven.call('read_document', { id: 'handbook/travel' })
      expect(read.structuredContent).toMatchObject({ id: 'handbook/travel', text: 'Travel budget: 900.' })
      expect(await driven.read('remit://document/handbook%2Ftravel')).toMatchObject({
        contents: [{ text: 'Travel budget: 900.' }],
      })
      expect(await driven.call('read_document', { id: 'handbook/secret' })).toMatchObject({ isError: true })

      const query = { query: 'travel budget' }
      const offered = (await driven.call('retrieve', query)).structuredContent as {
        readonly approval?: { readonly offer_id: string }
      }
      const asked = await driven.call('request_approval', {
        authorization_details: [{ type: 'document_access', offer: offered.approval?.offer_id }],
        purpose: 'The report',
      })
      // It opens no addresses: the person is led there by what the result says.
      const { id, url } = asked.structuredContent as { readonly id: string; readonly url: string }
      expect(asked.structuredContent).toMatchObject({ state: 'pending' })
      expect(url).toBe(`${world.url}/approvals/${id}`)
      const grant = await decide(world.service, id, { answer: 'approve' })
      expect(await driven.call('request_approval', { id })).toMatchObject({
        structuredContent: { state: 'approved', grant_id: grant },
      })
      const opens = await driven.call('retrieve', { ...query, approval: grant })
      expect(JSON.stringify(opens.structuredContent)).toContain('Travel budget of the board.')
      expect(JSON.stringify(offered)).not.toContain('of the board')
      expect(opened).toHaveLength(1)
    },
  )
})
