import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { trustedIssuer } from '../../src/config/issuers.ts'
import { accountKey } from '../../src/delegation/registry/subject.ts'
import { externalIssuer } from '../../src/delegation/tokens/issuers.ts'
import { normalise } from '../../src/delegation/tokens/normalise.ts'
import { type Payload, type PresetName, presetNames, presets } from '../../src/delegation/tokens/presets.ts'
import type { Verifier } from '../../src/delegation/tokens/verify.ts'
import { startTestIssuer, type TestIssuer } from '../support/issuer.ts'
import fc from '../support/properties.ts'
import { openVerifying, putDelegation } from './world.ts'

// What each product sends, as its documentation and trials show it: the claims that matter, with those around
// them.

const tid = '6c1f2b3a-1111-4222-8333-944455556666'
const oid = 'A0b1c2d3-0000-4000-8000-000000000001'
const agentOid = 'a0b1c2d3-0000-4000-8000-000000000002'
const now = Math.floor(Date.now() / 1_000)
const api = 'https://remit.test/api'
const times = { aud: api, iat: now, exp: now + 300 }
type Product = Exclude<PresetName, 'generic'>
interface Shape {
  /** '': none. */
  readonly typ: string
  readonly claims: Payload
}

const at = (claims: Payload, typ = 'at+jwt'): Shape => ({
  typ,
  claims: { ...times, ...claims },
})
const but = ({ typ, claims }: Shape, more: Payload): Shape => ({ typ, claims: { ...claims, ...more } })

/** A person's own token, through the client `portal`. */
const person: Readonly<Record<PresetName, Shape>> = {
  keycloak: at(
    {
      jti: 'onrtro:ef029832-6ce1-edf3-ceb2-d57df4cc5241',
      sub: '0659ae77-c4a7-44dc-969a-5640725129cc',
      typ: 'Bearer',
      azp: 'portal',
      sid: 'iCuaO9XDgh2YyLi04r5K4jZK',
      acr: '1',
      scope: 'openid profile docs.search docs.read',
      preferred_username: 'anne',
      email: 'anne@x.test',
    },
    'JWT',
  ),
  auth0: at({
    jti: 'xDdGEnWx',
    sub: 'auth0|64f1',
    client_id: 'portal',
    scope: 'openid docs.search docs.read',
    permissions: ['docs.search', 'docs.read'],
  }),
  okta: at(
    {
      ver: 1,
      jti: 'AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE',
      sub: 'anne@x.test',
      cid: 'portal',
      uid: '00u1abcd',
      scp: ['openid', 'docs.read', 'docs.search'],
      auth_time: now,
    },
    '',
  ),
  entra: at(
    {
      ver: '2.0',
      uti: 'Ct2wAQ',
      sub: 'pairwise-for-this-application',
      tid,
      oid,
      azp: 'portal',
      azpacr: '0',
      scp: 'docs.read docs.search',
      idtyp: 'user',
      xms_act_fct: '3 9',
      xms_sub_fct: '1 2 777',
    },
    'JWT',
  ),
  generic: at({ jti: 'j-1', sub: 'anne', client_id: 'portal', scope: 'docs.search docs.read' }),
}

/** An ID token of the same sign-in, addressed as badly as it can be: to our API. */
const idToken: Readonly<Record<PresetName, Shape>> = {
  keycloak: at(
    {
      jti: '5d33cb81',
      sub: '0659ae77-c4a7-44dc-969a-5640725129cc',
      typ: 'ID',
      azp: 'portal',
      sid: 'x',
      at_hash: 'Vr4A2ga7YPEmZrTUGur09Q',
    },
    'JWT',
  ),
  auth0: at({ sub: 'auth0|64f1', azp: 'portal', sid: 's', name: 'Anne' }, 'JWT'),
  okta: at(
    { ver: 1, jti: 'ID.4eAWJOCMB3SX8XewDfVR', sub: '00u1abcd', amr: ['pwd'], idp: '00o', auth_time: now },
    '',
  ),
  entra: at({ ver: '2.0', uti: 'x', sub: 'p', tid, oid, roles: ['docs.read'], name: 'Anne' }, 'JWT'),
  generic: at({ sub: 'anne', azp: 'portal', auth_time: now }, 'JWT'),
}

/** A program's own token (client credentials), through the same client as the person's. */
const program: Readonly<Record<Product, Shape>> = {
  keycloak: but(person.keycloak, {
    jti: 'trrtcc:89ebf7fd-3774-3bb6-5f8a-646a7ff9122a',
    sid: undefined,
    client_id: 'portal',
    preferred_username: 'service-account-portal',
  }),
  auth0: but(person.auth0, { sub: 'portal@clients', gty: 'client-credentials' }),
  okta: but(person.okta, { sub: 'portal', uid: undefined }),
  entra: but(person.entra, { scp: undefined, roles: ['docs.read'], idtyp: 'app', azpacr: '2' }),
}

const bot = { sub: 'bot-there', sub_profile: 'ai_agent' }
/** The agent `bot-there` at this issuer, for the person. */
const agent: Readonly<Record<Product, Shape>> = {
  keycloak: but(person.keycloak, { azp: 'bot', act: { sub: 'bot-there' } }),
  auth0: but(person.auth0, { client_id: 'bot', act: { ...bot, client_id: 'bot' } }),
  okta: but(person.okta, { cid: 'bot', act: bot, sub_profile: 'user' }),
  entra: but(person.entra, { azp: 'bot-there', xms_act_fct: '11 3' }),
}

const subjects: Readonly<Record<PresetName, string>> = {
  keycloak: 'user:keycloak/0659ae77-c4a7-44dc-969a-5640725129cc',
  auth0: 'user:auth0/auth0%7C64f1',
  okta: 'user:okta/00u1abcd',
  entra: `user:entra/${tid}.${oid.toLowerCase()}`,
  generic: 'user:generic/anne',
}
const products = presetNames.filter((name): name is Product => name !== 'generic')

let issuers: Readonly<Record<PresetName, TestIssuer>>
let world: Awaited<ReturnType<typeof openVerifying>>
let verifier: Verifier

beforeAll(async () => {
  const made: Partial<Record<PresetName, TestIssuer>> = {}
  for (const preset of presetNames)
    made[preset] = await startTestIssuer({
      preset,
      namespace: preset,
      personClients: ['portal'],
      serviceClients: { 'loader-app': 'loader' },
      standing: preset !== 'generic',
      path: `/${tid}/v2.0`,
    })
  issuers = made as Record<PresetName, TestIssuer>
  world = await openVerifying(issuers.generic)
  for (const preset of products)
    await world.agents.save({
      id: `${preset}-bot`,
      owner: 'user:anne',
      purpose: 'tests',
      issuer: issuers[preset].issuer,
      sub: 'bot-there',
    })
  verifier = world.verifierOf(
    presetNames.map((name) =>
      externalIssuer(trustedIssuer.parse(issuers[name].entry()), {
        fetch,
        timeoutMs: 5_000,
      }),
    ),
  )
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  for (const issuer of Object.values(issuers)) await issuer[Symbol.asyncDispose]()
})

async function verify(at: PresetName, { typ, claims }: Shape) {
  const issuer = issuers[at]
  return verifier.verify(
    await issuer.sign({ iss: issuer.issuer, ...claims }, typ === '' ? {} : { typ }),
    'api',
  )
}

async function told(at: PresetName, shape: Shape): Promise<string> {
  const result = await verify(at, shape)
  return result.ok ? `${result.value.kind} ${result.value.subject}` : result.reason
}

describe.each(presetNames)('a token of %s', (preset) => {
  test('is the person’s own, by the key that is theirs for good, with client and scopes', async () => {
    expect(await verify(preset, person[preset])).toMatchObject({
      ok: true,
      value: {
        kind: 'person',
        subject: subjects[preset],
        client: 'portal',
        scopes: new Set(['docs.search', 'docs.read']),
      },
    })
  })

  test('and the ID token of the same sign-in are one person', () => {
    const { issuer } = issuers[preset]
    const sub = presets[preset].sub(idToken[preset].claims, issuer)
    expect(sub).toBe(presets[preset].sub(person[preset].claims, issuer))
    expect(`user:${accountKey(preset, String(sub), undefined)}`).toBe(subjects[preset])
  })

  test('is nobody’s where it is an ID token, even one that is addressed to us', async () => {
    expect(await told(preset, idToken[preset])).toBe('wrong_type')
    expect(await told(preset, { ...idToken[preset], typ: 'JWT' })).toBe('wrong_type')
  })

  test.each(['at_hash', 'c_hash', 's_hash', 'nonce', 'events'])(
    'is refused with %s, which access tokens have not',
    async (name) => {
      expect(await told(preset, but(person[preset], { [name]: 'x' }))).toBe('wrong_type')
    },
  )

  test('is the person’s own only through a client that is listed', async () => {
    const name = { keycloak: 'azp', auth0: 'client_id', okta: 'cid', entra: 'azp', generic: 'client_id' }[
      preset
    ]
    expect(await told(preset, but(person[preset], { [name]: 'other' }))).toBe('actor_missing')
    expect(await told(preset, but(person[preset], { [name]: undefined }))).toMatch(
      /^(missing_claim|wrong_type)$/,
    )
    expect(await told(preset, but(person[preset], { client_id: 'portal', azp: 'other' }))).toBe('bad_claim')
  })

  test('is no person’s where it says so', async () => {
    for (const sub_profile of ['service', 'ai_agent', 'user ai_agent', 7])
      expect(await told(preset, but(person[preset], { sub_profile }))).toBe('not_a_person')
  })

  test('at another preset’s entry is not understood', async () => {
    for (const other of presetNames.filter((name) => name !== preset)) {
      const result = await told(other, person[preset])
      // Auth0's is RFC 9068 to the letter, which is what `generic` reads.
      if (preset === 'auth0' && other === 'generic') expect(result).toMatch(/^person/)
      else
        expect(result, `${preset} at ${other}`).toMatch(/^(wrong_type|missing_claim|bad_claim|not_a_person)$/)
    }
  })

  test('does not say who somebody is at yet another issuer', async () => {
    const upstream = { iss: issuers.keycloak.issuer, sub: 'somebody' }
    expect(await told(preset, but(person[preset], { upstream }))).toBe(`person ${subjects[preset]}`)
  })
})

describe.each(products)('at %s', (preset) => {
  test('a program’s own token is nobody’s, even through a person’s client', async () => {
    expect(await told(preset, program[preset])).toBe('not_a_person')
  })

  test('a registered agent is the actor, and needs what the person lent to it', async () => {
    expect(await told(preset, agent[preset])).toBe('delegation_missing')
    const row = { id: `d_${preset}`, subject: subjects[preset], agent: `${preset}-bot` }
    await putDelegation(world.database, { ...row, expiresAt: new Date(Date.now() + 60_000) })
    expect(await verify(preset, but(agent[preset], { delegation: `d_${preset}` }))).toMatchObject({
      ok: true,
      value: { kind: 'agent', subject: subjects[preset], actors: [`agent:${preset}-bot`] },
    })
    // It is no standing one, and what is not said is not guessed.
    expect(await told(preset, agent[preset])).toBe('delegation_missing')
  })

  test('an agent is an agent through a person’s client, too', async () => {
    const client = {
      keycloak: { azp: 'portal' },
      auth0: { client_id: 'portal' },
      okta: { cid: 'portal' },
      entra: {},
    }
    expect(await told(preset, but(agent[preset], client[preset]))).toBe('delegation_missing')
  })

  test('the same name at another issuer is another agent', async () => {
    const elsewhere = { iss: 'https://elsewhere.test', sub: 'bot-there' }
    expect(await told(preset, but(person[preset], { act: elsewhere }))).toBe(
      preset === 'entra' ? 'bad_actor' : 'unknown_actor',
    )
  })

  test('an agent that nobody registered is refused', async () => {
    const stranger = preset === 'entra' ? { azp: 'stranger' } : { act: { sub: 'stranger' } }
    expect(await told(preset, but(agent[preset], stranger))).toBe('unknown_actor')
  })
})

describe('an actor', () => {
  test.each(['keycloak', 'auth0', 'okta', 'generic'] as const)(
    'that is a user is somebody’s impersonation, and of a profile that we do not know is refused: %s',
    async (preset) => {
      for (const sub_profile of ['user', 'service', 'ai_agent user', ''])
        for (const act of [
          { iss: issuers[preset].issuer, sub: 'bot-there', sub_profile },
          { iss: issuers[preset].issuer, sub: 'bot-there', act: { iss: 'x', sub: 'y', sub_profile } },
        ])
          expect(await told(preset, but(person[preset], { act }))).toBe('actor_no_agent')
    },
  )

  test('of Keycloak that is an administrator who impersonates is no registered agent', async () => {
    expect(await told('keycloak', but(person.keycloak, { act: { sub: 'an-administrators-user-id' } }))).toBe(
      'unknown_actor',
    )
  })

  test('without an issuer is refused where the product names it', async () => {
    expect(await told('generic', but(person.generic, { act: bot }))).toBe('bad_actor')
  })

  test('is never made of a client’s name alone', async () => {
    expect(await told('keycloak', but(agent.keycloak, { act: undefined, azp: 'bot-there' }))).toBe(
      'actor_missing',
    )
    expect(await told('entra', but(agent.entra, { xms_act_fct: '1 110 111' }))).toBe('actor_missing')
    expect(
      await told('entra', but(agent.entra, { xms_act_fct: undefined, xms_par_app_azp: 'bot-there' })),
    ).toBe('actor_missing')
  })
})

describe('Entra', () => {
  test.each(['13', '1 13 2', ['13'], [1, 13]])(
    'an agent’s own user account (%j) is no person',
    async (facet) => {
      expect(await told('entra', but(person.entra, { xms_sub_fct: facet }))).toBe('not_a_person')
    },
  )

  test.each(['eleven', { a: 11 }, null, [null], 11, -1])(
    'facets of another form (%j) are refused',
    async (facet) => {
      expect(await told('entra', but(person.entra, { xms_act_fct: facet }))).toBe('bad_claim')
      expect(await told('entra', but(person.entra, { xms_sub_fct: facet }))).toBe('not_a_person')
    },
  )

  test('a person of another tenant than the issuer’s is nobody', async () => {
    expect(await told('entra', but(person.entra, { tid: agentOid }))).toBe('missing_claim')
    expect(await told('entra', but(person.entra, { oid: undefined }))).toBe('missing_claim')
    expect(await told('entra', but(person.entra, { oid: 'x' }))).toBe('missing_claim')
  })

  test('a program of the settings is a service by its roles, and only there', async () => {
    const app = but(program.entra, { azp: 'loader-app', roles: ['docs.write', 'docs.read'] })
    const entry = { ...issuers.entra.entry(), scopes_allowed: ['docs.write'] }
    expect(entry).toHaveProperty('service_clients')
    expect(await verify('entra', app)).toMatchObject({
      ok: true,
      value: { kind: 'service', subject: 'service:loader', scopes: new Set(['docs.write']) },
    })
  })

  test('an application that is its own API gets ID tokens with our audience, and they pass under no name', async () => {
    expect(await told('entra', but(idToken.entra, { azp: 'portal', oid, tid }))).toBe('wrong_type')
  })

  test('version 1 names the client appid; what is neither version is refused', async () => {
    const v1 = but(person.entra, { ver: '1.0', azp: undefined, appid: 'portal' })
    expect(await told('entra', v1)).toBe(`person ${subjects.entra}`)
    expect(await told('entra', but(person.entra, { appid: 'other' }))).toBe('bad_claim')
    expect(await told('entra', but(person.entra, { ver: '3.0' }))).toBe('wrong_type')
  })
})

test('Okta’s login is nobody’s key: it may be another person’s later', async () => {
  expect(await told('okta', but(person.okta, { sub: 'bob@x.test' }))).toBe('person user:okta/00u1abcd')
  expect(await told('okta', but(person.okta, { uid: '00u2' }))).toBe('person user:okta/00u2')
  expect(await told('okta', but(person.okta, { uid: undefined }))).toBe('not_a_person')
  const byProfile = { uid: undefined, sub: '00u1abcd', sub_profile: 'user' }
  expect(await told('okta', but(person.okta, byProfile))).toBe('person user:okta/00u1abcd')
})

test('Okta’s subject may be an application, which is no person unless the token says so', async () => {
  const sub = { sub: '0oaanotherapplication', uid: undefined }
  expect(await told('okta', but(person.okta, sub))).toBe('not_a_person')
  expect(await told('okta', but(person.okta, { ...sub, sub_profile: 'service' }))).toBe('not_a_person')
})

describe('the type of a token', () => {
  test('Keycloak’s refresh, logout and offline tokens are none, whatever the header says', async () => {
    for (const typ of ['ID', 'Refresh', 'Offline', 'Logout', 'bearer', undefined, ['Bearer']])
      for (const header of ['JWT', 'at+jwt', ''])
        expect(await told('keycloak', { ...but(person.keycloak, { typ }), typ: header })).toBe('wrong_type')
  })

  test('Auth0’s older profile is refused: nothing in it tells it from an ID token', async () => {
    expect(await told('auth0', { ...person.auth0, typ: 'JWT' })).toBe('wrong_type')
  })

  test('Okta’s own internal kind is refused, and so are names that only look alike', async () => {
    expect(await told('okta', { ...person.okta, typ: 'application/okta-internal-at+jwt' })).toBe('wrong_type')
    expect(await told('okta', but(person.okta, { jti: 'AT2.x' }))).toBe('wrong_type')
    expect(await told('okta', { ...but(person.okta, { jti: 'ID.x' }), typ: 'at+jwt' })).toBe('wrong_type')
    expect(await told('okta', { ...person.okta, typ: 'at+jwt' })).toBe(`person ${subjects.okta}`)
  })
})

describe('scopes', () => {
  test('Auth0’s permissions only take away: they are what the person may, not what the client was given', async () => {
    const held = async (more: Payload) => {
      const result = await verify('auth0', but(person.auth0, more))
      return result.ok ? [...result.value.scopes] : result.reason
    }
    expect(await held({ permissions: ['docs.read', 'docs.write'] })).toEqual(['docs.read'])
    expect(await held({ scope: undefined, permissions: ['docs.read'] })).toEqual([])
    expect(await held({ permissions: 7 })).toBe('bad_claim')
  })

  test('that two claims tell differently are refused', async () => {
    expect(await told('okta', but(person.okta, { scope: 'docs.read' }))).toBe('bad_claim')
    expect(await told('okta', but(person.okta, { scope: 'docs.search docs.read openid' }))).toMatch(/^person/)
  })

  test.each([7, null, { a: 1 }, ['a b'], [['a']], 'a\tb', 'a\u00a0b'])(
    'of another form are refused: %j',
    async (scope) => {
      expect(await told('generic', but(person.generic, { scope }))).toBe('bad_claim')
      expect(await told('okta', but(person.okta, { scp: scope }))).toBe('bad_claim')
    },
  )
})

describe('whatever a payload looks like', () => {
  const members = [...new Set(Object.values(person).flatMap(({ claims }) => Object.keys(claims)))]
  const odd = fc.oneof(
    fc.constantFrom('', 'x', 'user', 'ID', 'Bearer', '11', 0, 1, null, true, [], {}, ['x'], { sub: 'x' }),
    fc.jsonValue({ maxDepth: 2 }),
  )
  const payload = fc.dictionary(
    fc.constantFrom(...members, 'act', 'may_act', 'sub_profile', 'idtyp', 'gty'),
    odd,
  )
  const typ = fc.constantFrom('', 'jwt', 'at+jwt', 'application/at+jwt')

  test('reading it never throws, and what is read has one form', () => {
    fc.assert(
      fc.property(fc.constantFrom(...presetNames), payload, typ, (name, claims, type) => {
        const read = normalise(claims, type, { issuer: 'https://idp.test/t', preset: presets[name] })
        if (!read.ok) return
        expect(typeof read.value.payload['client_id']).toBe('string')
        expect(typeof read.value.payload['scope']).toBe('string')
        expect(['user', 'other']).toContain(read.value.payload['sub_profile'])
        expect(read.value.payload).not.toHaveProperty('upstream')
      }),
      { numRuns: 3_000 },
    )
  })

  test('a person’s token with a claim in another form, or without one that it needs, is no other person’s', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...presetNames),
        fc.constantFrom(...members),
        odd,
        async (name, member, value) => {
          const shape = but(person[name], { [member]: value })
          const result = await verify(name, shape)
          if (!result.ok) return
          const named = name === 'entra' ? ['tid', 'oid'] : name === 'okta' ? ['uid', 'sub'] : ['sub']
          expect(result.value.kind).toBe('person')
          expect(result.value.client).toBe('portal')
          if (!named.includes(member)) expect(result.value.subject).toBe(subjects[name])
          expect(result.value.subject.startsWith(`user:${name}/`)).toBe(true)
        },
      ),
      { numRuns: 400 },
    )
  })
})
