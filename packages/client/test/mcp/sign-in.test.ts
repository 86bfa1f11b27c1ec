import { describe, expect, test } from 'vitest'
import { McpSignIn } from '../../src/index.ts'

const redirectUrl = 'http://127.0.0.1:49152/callback'
const make = (more: Partial<ConstructorParameters<typeof McpSignIn>[0]> = {}) => {
  const opened: string[] = []
  const signIn = new McpSignIn({ redirectUrl, open: (url) => void opened.push(url.href), ...more })
  return { signIn, opened }
}
const answer = (state: string, path = '/callback') =>
  new URL(`http://127.0.0.1:49152${path}?code=a-code&state=${state}`)

describe('what comes back from a browser', () => {
  test('is taken once, as the answer to the attempt that was begun last', () => {
    const { signIn } = make()
    const earlier = signIn.state()
    const state = signIn.state()
    expect(state).not.toBe(earlier)
    expect(signIn.back(answer(state)).get('code')).toBe('a-code')
    expect(() => signIn.back(answer(state))).toThrow('not the answer')
  })

  test.each([
    ['of an earlier attempt', (earlier: string) => answer(earlier)],
    ['of somebody else', () => answer('theirs')],
    ['without a state', () => new URL(`${redirectUrl}?code=a-code`)],
    ['to another page', (_: string, state: string) => answer(state, '/other')],
  ])('%s is refused, and ends the attempt', (_, urlOf) => {
    const { signIn } = make()
    const earlier = signIn.state()
    const state = signIn.state()
    expect(() => signIn.back(urlOf(earlier, state))).toThrow('not the answer')
    expect(() => signIn.back(answer(state))).toThrow('not the answer')
  })

  test('nobody asked for is refused', () => {
    expect(() => make().signIn.back(answer('any'))).toThrow('not the answer')
  })
})

test('what one authorization server gave is not shown to another, and requests carry what came last', () => {
  const { signIn } = make()
  const [first, second] = [{ issuer: 'https://a.test' }, { issuer: 'https://b.test' }]
  signIn.saveClientInformation({ client_id: 'at-a' }, first)
  signIn.saveTokens({ access_token: 'a', token_type: 'Bearer', refresh_token: 'r' }, first)
  expect(signIn.clientInformation(second)).toBeUndefined()
  expect(signIn.tokens(second)).toBeUndefined()
  signIn.saveTokens({ access_token: 'b', token_type: 'Bearer' }, second)
  expect(signIn.tokens()).toMatchObject({ access_token: 'b' })
  expect(signIn.tokens(first)).toMatchObject({ access_token: 'a', refresh_token: 'r' })
  signIn.invalidateCredentials('tokens')
  expect([signIn.tokens(), signIn.tokens(first)]).toEqual([undefined, undefined])
  expect(signIn.clientInformation(first)).toEqual({ client_id: 'at-a' })
})

test('a registered client, and its secret, are for the server that is named alone', () => {
  const client = { client_id: 'app', client_secret: 's', issuer: 'https://a.test' }
  const { signIn } = make({ client })
  expect(signIn.clientInformation({ issuer: 'https://a.test' })).toEqual(client)
  expect(signIn.clientInformation({ issuer: 'https://b.test' })).toBeUndefined()
  expect(signIn.clientInformation()).toBeUndefined()
})

test('a secret for whichever server is named by others cannot be given', () => {
  // @ts-expect-error: the type refuses it too
  expect(() => make({ client: { client_id: 'app', client_secret: 's' } })).toThrow('has to name its issuer')
  const { signIn } = make({ client: { client_id: 'app' } })
  expect(signIn.clientInformation()).toEqual({ client_id: 'app' })
  expect(signIn.clientInformation({ issuer: 'https://a.test' })).toEqual({ client_id: 'app' })
})

test('refresh tokens are not kept where that is said', () => {
  const { signIn } = make({ refreshes: false })
  signIn.saveTokens({ access_token: 'a', token_type: 'Bearer', refresh_token: 'r' })
  expect(signIn.tokens()).toEqual({ access_token: 'a', token_type: 'Bearer' })
})

test('the person is sent to pages alone, and comes back to a safe address', async () => {
  const { signIn, opened } = make()
  await signIn.redirectToAuthorization(new URL('https://issuer.test/auth'))
  for (const url of ['javascript:alert(1)', 'file:///etc/passwd', 'http://issuer.test/auth', 'app:open'])
    await expect(signIn.redirectToAuthorization(new URL(url))).rejects.toThrow(
      'neither https nor on loopback',
    )
  expect(opened).toEqual(['https://issuer.test/auth'])
  expect(() => make({ redirectUrl: 'http://app.test/callback' })).toThrow('redirectUrl')
})

test('more is asked for than the server demands where that is said, and what it demands is never left out', async () => {
  const { signIn, opened } = make({ scopes: ['docs.search', 'approvals.request'] })
  await signIn.redirectToAuthorization(new URL('https://issuer.test/auth?scope=docs.search+docs.read'))
  await signIn.redirectToAuthorization(new URL('https://issuer.test/auth'))
  expect(opened.map((url) => new URL(url).searchParams.get('scope'))).toEqual([
    'docs.search docs.read approvals.request',
    'docs.search approvals.request',
  ])
  const plain = make()
  await plain.signIn.redirectToAuthorization(new URL('https://issuer.test/auth'))
  expect(plain.opened).toEqual(['https://issuer.test/auth'])
})
