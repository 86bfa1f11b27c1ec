import { beforeEach, describe, expect, test } from 'vitest'
import {
  type ConnectionOptions,
  type ConnectionTool,
  createRemit,
  exchange,
  type Session,
  type Vault,
  withConnection,
} from '../../src/index.ts'
import { createDouble, type Double, fromVault, issuer, problem, url } from '../double/double.ts'

let double: Double
let anne: Session
beforeEach(async () => {
  double = await createDouble()
  const platform = { fetch: double.fetch, now: () => double.now(), sleep: async () => pass(1_000) }
  const token = exchange({ issuer, ...double.agents['agent-a'], ...platform })
  anne = createRemit({ url, token, ...platform }).for(double.person('anne', 'agent-a'))
})

const pass = (ms: number) => {
  const later = double.now() + ms
  double.now = () => later
}
const link = () => void double.linked.add('anne agent-a')
const calls = () => double.requests('/vault/fetch').map(({ body }) => JSON.parse(body) as object)

const issues = async (repository: string, vault: Vault) =>
  (await (await vault.fetch(`/repos/${repository}/issues`)).json()) as object
const close = async (repository: string, vault: Vault) =>
  (await vault.fetch(`/repos/${repository}`, { method: 'PATCH', body: '{"open":false}' })).status

const wrapped = <Result>(
  tool: ConnectionTool<string, Result>,
  options: Partial<ConnectionOptions<string>> = {},
) => withConnection<string, Result>({ connection: 'github', ...options }, tool)

describe('a call to a third party', () => {
  test('goes through the vault for the person, and its answer reads like a response', async () => {
    link()
    const response = await anne.vaultFetch('github', '/user?a=1', { headers: { accept: 'text/plain' } })
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json'])
    expect(await response.json()).toEqual({ for: 'anne', by: 'agent-a', path: '/user?a=1' })
    expect(calls()).toEqual([
      { connection: 'github', method: 'GET', path: '/user?a=1', headers: { accept: 'text/plain' } },
    ])
    const [token] = double.requests('/oauth/token')
    expect(new URLSearchParams(token!.body).get('scope')).toBe('vault.use')
  })

  test('carries text as it is and bytes in base64, and gives bytes back', async () => {
    const bytes = Uint8Array.of(0, 255, 128, 10)
    double.before = ({ url: address }) =>
      address.endsWith('/vault/fetch')
        ? Response.json({ ...fromVault('AP+ACg==', 404), encoding: 'base64' })
        : undefined
    const response = await anne.vaultFetch('github', '/x', { method: 'PUT', body: bytes })
    expect([response.status, new Uint8Array(await response.arrayBuffer())]).toEqual([404, bytes])
    await anne.vaultFetch('github', '/x', { method: 'PUT', body: 'ä' })
    expect(calls()).toMatchObject([{ body_base64: 'AP+ACg==' }, { body: 'ä' }])
  })

  test('that changes something is not sent twice, and without an answer nobody knows what it did', async () => {
    double.before = ({ url: address }) =>
      address.endsWith('/vault/fetch')
        ? problem(503, 'search_unavailable', {}, { 'retry-after': '0' })
        : undefined
    await expect(anne.vaultFetch('github', '/x', { method: 'POST' })).rejects.toMatchObject({ status: 503 })
    expect(calls()).toHaveLength(1)
    double.before = ({ url: address }) => {
      if (address.endsWith('/vault/fetch')) throw new TypeError('socket hang up')
      return undefined
    }
    await expect(anne.vaultFetch('github', '/x', { method: 'POST' })).rejects.toMatchObject({
      name: 'OutcomeUnknown',
    })
    await expect(anne.vaultFetch('github', '/x')).rejects.toMatchObject({ name: 'Unavailable' })
  })
})

describe('a tool that works with an account of its person', () => {
  test('says where to link it, and works once that was done', async () => {
    const tool = wrapped(issues)
    await expect(tool('acme', anne)).rejects.toMatchObject({
      name: 'ConnectionRequired',
      data: { connectUrl: `${url}/connections/github?for=anne` },
    })
    link()
    expect(await tool('acme', anne)).toEqual({ for: 'anne', by: 'agent-a', path: '/repos/acme/issues' })
  })

  test('waits where it is to wait, shows where once, and gives up when its time is over', async () => {
    const shown: string[] = []
    const tool = wrapped(issues, {
      mode: 'block',
      onConnect: ({ data }, { person }) => {
        shown.push(`${person.subject} ${data.connectUrl}`)
        double.before = ({ url: address }) => {
          if (address.endsWith('/vault/fetch') && calls().length > 3) link()
          return undefined
        }
      },
    })
    expect(await tool('acme', anne)).toMatchObject({ for: 'anne' })
    expect(shown).toEqual([`anne ${url}/connections/github?for=anne`])
    double.linked.clear()
    double.before = () => undefined
    const impatient = wrapped(issues, { mode: 'block', onConnect: () => undefined, waitMs: 2_500 })
    await expect(impatient('acme', anne)).rejects.toMatchObject({ name: 'ConnectionRequired' })
    expect(() => wrapped(issues, { mode: 'block' })).toThrow('onConnect')
  })

  test('does nothing for nobody', async () => {
    for (const none of [undefined, { ...anne }])
      await expect(wrapped(issues)('acme', none as Session)).rejects.toMatchObject({ code: 'no_person' })
    expect(double.seen).toEqual([])
  })
})

describe('a call that the person has not agreed to', () => {
  const details = [{ type: 'vault_call', connection: 'github', method: 'PATCH', path: '/repos/acme' }]
  /** As the service: asks for agreement until it is shown the grant; the person's answer is `state`. */
  function asking(state: object): void {
    double.before = ({ url: address, body }) => {
      const { pathname } = new URL(address)
      if (pathname === '/approvals')
        return Response.json(
          { id: 'ap_1', state: 'pending', expires_at: '2026-11-25T00:00:00Z', interval: 5 },
          { status: 201 },
        )
      if (pathname === '/approvals/ap_1')
        return Response.json({ id: 'ap_1', expires_at: '2026-11-25T00:00:00Z', ...state })
      if (pathname !== '/vault/fetch') return undefined
      return (JSON.parse(body) as { approval?: string }).approval === 'g_1'
        ? Response.json(fromVault('{}'))
        : problem(403, 'approval_required', { authorization_details: details })
    }
  }
  const waiting = {
    mode: 'block',
    onConnect: () => undefined,
    purpose: (repository: string) => `Closes ${repository}.`,
  } as const

  test.each([
    ['by the call', waiting],
    ['always the same', { ...waiting, purpose: 'Closes acme.' }],
  ])(
    'is asked for in the agent’s words (%s), waited for, and sent again with the grant',
    async (_, options) => {
      asking({ state: 'approved', grant_id: 'g_1' })
      expect(await wrapped(close, options)('acme', anne)).toBe(200)
      expect(double.requests('/approvals').map(({ body }) => JSON.parse(body) as object)).toEqual([
        { authorization_details: details, purpose: 'Closes acme.' },
      ])
      expect(double.requests('/approvals/ap_1')[0]!.headers.get('prefer')).toBe('wait=30')
    },
  )

  test('is not sent when they refuse, also where the tool takes that for an answer', async () => {
    asking({ state: 'denied', reason: 'No.' })
    await expect(wrapped(close, waiting)('acme', anne)).rejects.toMatchObject({
      name: 'ApprovalDenied',
      data: { approval: 'ap_1', reason: 'No.' },
    })
    const careless = async (repository: string, vault: Vault) =>
      close(repository, vault).catch(() => 'it is closed')
    await expect(wrapped(careless, waiting)('acme', anne)).rejects.toMatchObject({ name: 'ApprovalDenied' })
    expect(calls().filter((call) => 'approval' in call)).toEqual([])
  })

  test.each([
    ['nobody answers', { state: 'expired' }, 'ApprovalExpired'],
    [
      'they ask back and nobody answers them',
      { state: 'info_requested', question: 'Why?' },
      'ApprovalRequired',
    ],
  ])('is not sent when %s', async (_, state, name) => {
    asking(state)
    await expect(wrapped(close, waiting)('acme', anne)).rejects.toMatchObject({ name })
  })

  test('ends a tool that does not wait with what to ask for; the call with the grant goes on', async () => {
    asking({})
    const tool = wrapped(close)
    await expect(tool('acme', anne)).rejects.toMatchObject({ data: { authorizationDetails: details } })
    expect(await tool('acme', anne, { approval: 'g_1' })).toBe(200)
    await expect(tool('acme', anne, { approval: 'g_other' })).rejects.toMatchObject({
      name: 'ApprovalRequired',
    })
  })
})
