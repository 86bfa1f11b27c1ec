import { beforeEach, describe, expect, test } from 'vitest'
import {
  createRemit,
  type DeviceFlowToolOptions,
  deviceFlow,
  errorFromJSON,
  exchange,
  isRemitError,
  type Session,
  withDeviceFlow,
} from '../../src/index.ts'
import { broker, createDouble, type Double, issuer, url } from '../double/double.ts'

let double: Double
let remit: ReturnType<typeof createRemit>
beforeEach(async () => {
  double = await createDouble()
  const platform = { fetch: double.fetch, now: () => double.now(), sleep: async (ms: number) => pass(ms) }
  const options = { issuer, ...double.agents['agent-a'], ...platform }
  remit = createRemit({ url, token: exchange(options), device: deviceFlow(options), ...platform })
})

const pass = (ms: number) => {
  const later = double.now() + ms
  double.now = () => later
}
const sessionOf = (subject: string): Session => remit.for({ subject })

const portfolio = (options: Partial<DeviceFlowToolOptions<string>> = {}) =>
  withDeviceFlow<string, string>(
    { audience: broker, scopes: ['portfolio.read'], ...options },
    async (path, access) => {
      const response = await access.fetch(path)
      const { for: person } = (await response.json()) as { readonly for: string }
      return `${person}’s ${path}`
    },
  )

/** The error of a call, as another process would get it. */
async function signInOf(call: Promise<unknown>) {
  const error: unknown = await call.then(
    () => 'it went through',
    (thrown: unknown) => thrown,
  )
  const back = errorFromJSON(JSON.parse(JSON.stringify(error)))
  if (!isRemitError(back, 'sign_in_required')) throw back
  return back.data
}

describe('a tool that needs a sign-in', () => {
  test('says where and with which code, keeps the secret half, and goes on once they have', async () => {
    const tool = portfolio()
    const shown = await signInOf(tool('/shares', sessionOf('anne')))
    const [started] = double.signIns
    expect(shown).toEqual({
      verificationUri: 'https://remit.test/oauth/device',
      userCode: started!.userCode,
      expiresAt: expect.any(Number),
    })
    expect(JSON.stringify(shown)).not.toContain(started!.deviceCode)
    expect(started).toMatchObject({ resource: broker, scope: 'portfolio.read' })
    pass(1_000)
    expect(await signInOf(tool('/shares', sessionOf('anne')))).toEqual(shown)
    started!.by = 'anne'
    pass(1_000)
    expect(await tool('/shares', sessionOf('anne'))).toBe('anne’s /shares')
  })

  test('waits where it is to wait, having shown this person where', async () => {
    const shown: string[] = []
    const tool = portfolio({
      mode: 'block',
      onSignIn: ({ data }, { person }) => {
        shown.push(`${person.subject} ${data.userCode}`)
        double.signIns[0]!.by = 'anne'
      },
    })
    const { userCode } = await new Promise<{ userCode: string }>((resolve) => {
      double.people.signIn = resolve
      void tool('/shares', sessionOf('anne')).then((text) => shown.push(text))
    })
    await expect.poll(() => shown).toEqual([`anne ${userCode}`, 'anne’s /shares'])
    expect(() => portfolio({ mode: 'block' })).toThrow('onSignIn')
  })

  test('asks the issuer no sooner than it wants, and slower when told so', async () => {
    const tool = portfolio()
    for (const _ of [1, 2, 3]) await signInOf(tool('/shares', sessionOf('anne')))
    expect(double.signIns[0]!.polls).toBe(0)
    pass(1_000)
    for (const _ of [1, 2, 3]) await signInOf(tool('/shares', sessionOf('anne')))
    expect(double.signIns[0]!.polls).toBe(1)
  })

  test('with a sign-in of somebody else is not done, and nothing of theirs is kept', async () => {
    const tool = portfolio()
    await signInOf(tool('/shares', sessionOf('anne')))
    double.signIns[0]!.by = 'bob'
    pass(1_000)
    await expect(tool('/shares', sessionOf('anne'))).rejects.toMatchObject({ code: 'wrong_person' })
    await signInOf(tool('/shares', sessionOf('anne')))
    await signInOf(tool('/shares', sessionOf('bob')))
    expect(double.requests('/api/shares')).toEqual([])
  })

  test('each person has a code of their own, and their own sign-in', async () => {
    const tool = portfolio()
    const [anne, bob] = [sessionOf('anne'), sessionOf('bob')]
    const [first, second] = [await signInOf(tool('/shares', anne)), await signInOf(tool('/shares', bob))]
    expect(first.userCode).not.toBe(second.userCode)
    double.signIns[0]!.by = 'anne'
    pass(1_000)
    expect(await tool('/shares', anne)).toBe('anne’s /shares')
    await signInOf(tool('/shares', bob))
  })

  test('a denial is an error, and the next call asks anew', async () => {
    const tool = portfolio()
    await signInOf(tool('/shares', sessionOf('anne')))
    double.signIns[0]!.by = 'denied'
    pass(1_000)
    await expect(tool('/shares', sessionOf('anne'))).rejects.toMatchObject({ code: 'access_denied' })
    await signInOf(tool('/shares', sessionOf('anne')))
    expect(double.signIns).toHaveLength(2)
  })

  test('renews the sign-in by its refresh token, once for many calls, and asks again when that is over', async () => {
    const tool = portfolio()
    const session = sessionOf('anne')
    await signInOf(tool('/shares', session))
    double.signIns[0]!.by = 'anne'
    pass(1_000)
    await tool('/shares', session)
    pass(299_000)
    // A refresh token is good once: two at a time would end the whole sign-in.
    await Promise.all(Array.from({ length: 10 }, () => tool('/shares', session)))
    const grants = double
      .requests('/oauth/token')
      .map(({ body }) => new URLSearchParams(body).get('grant_type'))
    expect(grants.filter((grant) => grant === 'refresh_token')).toHaveLength(1)
    double.endSignIns()
    pass(299_000)
    await signInOf(tool('/shares', session))
  })

  test('does nothing for nobody', async () => {
    for (const none of [undefined, { ...sessionOf('anne') }])
      await expect(portfolio()('/shares', none as Session)).rejects.toMatchObject({ code: 'no_person' })
    expect(double.seen).toEqual([])
  })
})
