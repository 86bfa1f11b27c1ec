import { describe, expect, test } from 'vitest'
import {
  comesFrom,
  detailsFor,
  grantableScopes,
  isForeign,
  limitsOf,
  mayActNames,
  mayCross,
  mayExchangeSubjectToken,
  scopesCrossing,
} from '../../src/delegation/oauth/exchange-rules.ts'
import type { Agent, AgentLimits, Agents } from '../../src/delegation/registry/agents.ts'
import type { Client } from '../../src/delegation/registry/clients.ts'
import type { ResourceEntry, Resources } from '../../src/delegation/registry/resources.ts'
import type { ExternalIssuer, OwnIssuer } from '../../src/delegation/tokens/issuers.ts'
import type { ExaminedToken } from '../../src/delegation/tokens/verify.ts'
import { annesBot } from '../authz/double.ts'

// What of a token goes along, and to whom. Over HTTP, with tokens that are signed: issuer/exchange.test.ts,
// issuer/foreign.test.ts, issuer/other-apis.test.ts.

const publicUrl = 'https://remit.example'
const broker = 'https://broker.example'
const bank = 'https://bank.example'
const botAddress = `${publicUrl}/agents/research-bot`

const entryOf = (resource: string, rest: Partial<ResourceEntry> = {}): ResourceEntry => ({
  resource,
  scopes: [],
  authorizationDetailsTypes: [],
  allowedClients: undefined,
  accepts: {},
  takesVerification: false,
  owner: undefined,
  ...rest,
})
const ours = entryOf(publicUrl, { authorizationDetailsTypes: ['document_access', 'vault_call'] })
const atBroker = entryOf(broker, { authorizationDetailsTypes: ['trade_order', 'balance'] })
const atBank = entryOf(bank, { authorizationDetailsTypes: ['trade_order'] })
const atBot = entryOf(botAddress, {
  authorizationDetailsTypes: ['document_access', 'trade_order'],
  owner: { agent: 'research-bot' },
})

const bot: Client = { clientId: 'bot-client', kind: 'agent', agent: 'research-bot' }
const person: Client = { clientId: 'person-app', kind: 'person' }

const ownIssuer = { kind: 'own', issuer: `${publicUrl}/oauth` } as OwnIssuer
const theirIssuer = {
  kind: 'external',
  issuer: 'https://issuer.example',
  audiences: { api: 'remit-api', mcp: 'remit-mcp' },
  exchangeClients: new Map([['assistant', 'bot-client']]),
  scopesAllowed: new Set(['docs.read', 'docs.search']),
} as unknown as ExternalIssuer

interface TokenParts {
  readonly audience?: string
  readonly issuer?: OwnIssuer | ExternalIssuer
  readonly claims?: Readonly<Record<string, unknown>>
}
const tokenOf = ({ audience = publicUrl, issuer = ownIssuer, claims = {} }: TokenParts): ExaminedToken =>
  ({ audience, issuer, claims }) as unknown as ExaminedToken

const narrowed = (...collections: readonly string[]) => ({ type: 'document_access', collections })
const grant = (id: string, type = 'document_access') => ({ type, grant: id })
const order = { type: 'trade_order', amount: 100 }
const toBroker = { ...order, locations: [broker] }
const balance = { type: 'balance' }

describe('the details of a token that comes of an exchange', () => {
  const found = (requested: unknown, held: unknown, entry: ResourceEntry) => {
    const details = detailsFor(requested, held, { entry, publicUrl })
    return details.ok ? details.value : [details.reason, details.detail]
  }
  const unknown = 'these are no details that are known'
  const tooMuch = 'more than the subject token holds'
  const notThere = 'that API does not know this'
  const nothingFits = 'nothing of it is for that API'

  test.each<[string, unknown, unknown, ResourceEntry, unknown]>([
    [
      'all that it holds, where nothing is asked',
      undefined,
      [narrowed('a', 'b')],
      ours,
      [narrowed('a', 'b')],
    ],
    ['none, of a token that holds none', undefined, undefined, ours, []],
    ['… at another API', undefined, undefined, atBank, []],
    ['… but its limit, for an agent', undefined, [narrowed('a')], atBot, [narrowed('a')]],
    ['fewer collections', [narrowed('a')], [narrowed('a', 'b')], ours, [narrowed('a')]],
    ['any collections, where it has no limit', [narrowed('c')], undefined, ours, [narrowed('c')]],
    [
      'its limit, where only others’ are asked',
      [order],
      [narrowed('a'), order],
      atBot,
      [narrowed('a'), order],
    ],
    ['the grant that it holds', [grant('g_1')], [grant('g_1')], ours, [grant('g_1')]],
    ['that grant unasked', undefined, [grant('g_1', 'vault_call')], ours, [grant('g_1', 'vault_call')]],
    ['its limit with others’', [narrowed('a'), order], [narrowed('a'), order], atBot, [narrowed('a'), order]],
    ['its grant with others’', [grant('g_1'), order], [grant('g_1'), order], atBot, [grant('g_1'), order]],
    ['another’s as it was granted', [order], [order, balance], atBroker, [order]],
    ['of all those that this API knows', undefined, [narrowed('a'), order, balance], atBank, [order]],
    ['those that name this API', undefined, [toBroker, order], atBank, [order]],
    ['to an agent also those that name another API', undefined, [toBroker], atBot, [toBroker]],
    ['to our API none of others’', undefined, [narrowed('a'), order], ours, [narrowed('a')]],
  ])('are %s', (_, requested, held, entry, expected) => {
    expect(found(requested, held, entry)).toEqual(expected)
  })

  test.each<[string, unknown, unknown, ResourceEntry, string]>([
    ['what is no list of details', 'all', [narrowed('a')], ours, unknown],
    ['an empty list', [], [narrowed('a')], ours, unknown],
    ['a token whose own cannot be read', undefined, 'all', ours, unknown],
    ['one collection too many', [narrowed('a', 'c')], [narrowed('a', 'b')], ours, tooMuch],
    ['another grant', [grant('g_2')], [grant('g_1')], ours, tooMuch],
    ['a grant of another kind', [grant('g_1', 'vault_call')], [grant('g_1')], ours, tooMuch],
    ['a grant where it holds none', [grant('g_1')], undefined, ours, tooMuch],
    ['another’s that is written otherwise', [{ ...order, amount: 99 }], [order], atBroker, tooMuch],
    ['what this API does not know', [order, balance], [order, balance], atBank, notThere],
    ['what is for another API', [toBroker], [toBroker], atBank, notThere],
    ['another’s at our API', [order], [order], ours, notThere],
    ['a token whose details are all for others', undefined, [balance], atBank, nothingFits],
    ['… also for an agent that carries others’', undefined, [balance], atBot, nothingFits],
  ])('are refused for %s', (_, requested, held, entry, why) => {
    expect(found(requested, held, entry)).toEqual(['invalid_authorization_details', why])
  })

  test('are another API’s unless they name collections, a grant, or a call', () => {
    expect([order, narrowed('a'), grant('g_1', 'vault_call')].map((one) => isForeign(one as never))).toEqual([
      true,
      false,
      false,
    ])
  })
})

describe('from one API to another', () => {
  const crossing = (
    audience: string,
    target: ResourceEntry,
    client: Client = bot,
    issuer = ownIssuer as TokenParts['issuer'],
  ) => mayCross(tokenOf({ audience, issuer: issuer ?? ownIssuer }), target, { client, publicUrl })

  test('a token goes to its own, among ours, and into another’s only where that names the client', () => {
    const named = entryOf(bank, { allowedClients: ['bot-client'] })
    expect({
      same: crossing(bank, atBank),
      amongOurs: [crossing(publicUrl, atBot), crossing(botAddress, ours)],
      unnamed: [crossing(publicUrl, atBank), crossing(broker, atBank)],
      named: [crossing(publicUrl, named), crossing(broker, named), crossing(publicUrl, named, person)],
      intoOurs: crossing(broker, ours),
      // Another issuer's was issued for us, whatever its audience is called there.
      theirs: [
        crossing('remit-api', ours, bot, theirIssuer),
        crossing('remit-api', atBank, bot, theirIssuer),
      ],
    }).toEqual({
      same: true,
      amongOurs: [true, true],
      unnamed: [false, false],
      named: [true, true, false],
      intoOurs: false,
      theirs: [true, false],
    })
  })

  test('a scope means the same among ours and at its own API; elsewhere what the other’s row says', () => {
    const accepting = entryOf(bank, { accepts: { [broker]: { trade: 'transfer' } } })
    const held = ['trade', 'docs.read']
    const at = (audience: string, target: ResourceEntry, issuer: TokenParts['issuer'] = ownIssuer) =>
      scopesCrossing(tokenOf({ audience, issuer }), target, { held, publicUrl })
    expect(at(bank, accepting)).toEqual(held)
    expect(at(publicUrl, atBot)).toEqual(held)
    expect(at('remit-api', ours, theirIssuer)).toEqual(held)
    expect(at(broker, accepting)).toEqual(['transfer'])
    expect(at(publicUrl, accepting)).toEqual([])
    expect(at(broker, ours)).toEqual([])
    expect(at('remit-api', accepting, theirIssuer)).toEqual([])
    // No name of every object is one of a row.
    expect(at('constructor', accepting)).toEqual([])
  })
})

describe('who may exchange a token', () => {
  const rows = new Map([
    [bank, entryOf(bank, { owner: { client: 'person-app' } })],
    [botAddress, atBot],
    [publicUrl, ours],
  ])
  const resources = { get: async (resource: string) => rows.get(resource) } as Resources
  const may = (client: Client, token: TokenParts) =>
    mayExchangeSubjectToken(client, tokenOf(token), { resources, publicUrl })

  test('of ours: whom it was issued to, and whom it is addressed to', async () => {
    const issuedTo = (client_id: string, audience: string) => ({ audience, claims: { client_id } })
    expect(await may(bot, issuedTo('bot-client', publicUrl))).toBe(true)
    expect(await may(bot, issuedTo('person-app', botAddress))).toBe(true)
    expect(await may(person, issuedTo('bot-client', bank))).toBe(true)
    expect(await may(bot, issuedTo('person-app', publicUrl))).toBe(false)
    expect(await may(bot, issuedTo('person-app', bank))).toBe(false)
    expect(await may(bot, issuedTo('person-app', 'https://unknown.example'))).toBe(false)
  })

  test('of another issuer: the agent that it is addressed to, or the program that it was issued to there', async () => {
    const from = (client_id: string | undefined, audience: string) => ({
      audience,
      issuer: theirIssuer,
      claims: { client_id },
    })
    const other: Client = { ...bot, clientId: 'other-client', agent: 'other-bot' }
    expect(await may(bot, from('assistant', 'remit-api'))).toBe(true)
    expect(await may(bot, from('assistant', 'remit-mcp'))).toBe(true)
    expect(await may(bot, from('assistant', botAddress))).toBe(true)
    expect(await may(bot, from('portal', botAddress))).toBe(true)
    expect(await may(bot, from(undefined, botAddress))).toBe(true)
    // Addressed to us all: every requester could claim it.
    expect(await may(bot, from('portal', 'remit-api'))).toBe(false)
    // Its name there is no name of ours.
    expect(await may(bot, from('bot-client', 'remit-api'))).toBe(false)
    expect(await may(bot, from('assistant', 'https://elsewhere.example'))).toBe(false)
    expect(await may(other, from('assistant', 'remit-api'))).toBe(false)
    // The program's token, shown by the agent that it is addressed to: nobody would know of the program.
    expect(await may(other, from('assistant', `${publicUrl}/agents/other-bot`))).toBe(false)
    expect(await may(person, from('portal', botAddress))).toBe(false)
    // No person's client is the agent of this name.
    expect(await may(person, from('portal', `${publicUrl}/agents/undefined`))).toBe(false)
  })
})

describe('a token that comes of an exchange', () => {
  test('says whose token of theirs it comes of, and is of no family of theirs', () => {
    const claims = {
      iss: 'https://issuer.example',
      sub: 'a',
      jti: 'j',
      grant_id: 'theirs',
      upstream: { no: 1 },
    }
    expect(comesFrom(tokenOf({ issuer: theirIssuer, claims }))).toEqual({
      upstream: { iss: 'https://issuer.example', sub: 'a', jti: 'j' },
    })
  })

  test('of one of ours goes on saying where that came from and which family it is of, and no more', () => {
    const upstream = { iss: 'https://issuer.example', sub: 'a' }
    const claims = { iss: 'ours', sub: 'a', jti: 'j' }
    expect(comesFrom(tokenOf({ claims: { ...claims, upstream, grant_id: 'gf_1' } }))).toStrictEqual({
      upstream,
      grant_id: 'gf_1',
    })
    expect(comesFrom(tokenOf({ claims }))).toStrictEqual({})
  })

  test('has of another issuer’s scopes those that its settings allow, of ours all', () => {
    const claims = { scope: 'docs.read docs.write' }
    expect(grantableScopes(tokenOf({ claims }))).toEqual(['docs.read', 'docs.write'])
    expect(grantableScopes(tokenOf({ claims, issuer: theirIssuer }))).toEqual(['docs.read'])
  })

  const agent = { sub: 'research-bot', issuer: `${publicUrl}/oauth` } as Agent
  test.each<[unknown, boolean, boolean]>([
    [{ sub: 'research-bot' }, true, true],
    [{ sub: 'research-bot', iss: `${publicUrl}/oauth` }, true, true],
    [{ sub: 'research-bot', client_id: 'bot-client' }, true, false],
    [{ sub: 'research-bot', client_id: 'other' }, false, false],
    [{ sub: 'research-bot', iss: 'https://issuer.example' }, false, false],
    [{ sub: 'other-bot' }, false, false],
    [{}, false, false],
    [null, false, false],
    [undefined, false, false],
    ['research-bot', false, false],
  ])('is for the agent that may_act names: %j by our issuer %s, by another %s', (mayAct, byUs, byThem) => {
    expect([
      mayActNames(mayAct, agent, bot, ownIssuer),
      mayActNames(mayAct, agent, bot, theirIssuer),
    ]).toEqual([byUs, byThem])
  })

  test('is limited by every agent that acted before, and one that is gone allows nothing', async () => {
    const limits: AgentLimits = { scopes: ['docs.read'], collections: undefined }
    const inner = { id: 'inner', limits } as Agent
    const agents = { get: async (id: string) => (id === inner.id ? inner : undefined) } as Agents
    expect(await limitsOf(annesBot, agents)).toEqual([{ scopes: [], collections: [] }, limits])
  })
})
