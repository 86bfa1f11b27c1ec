import { describe, expect, test } from 'vitest'
import { unusableOpenFga } from '../../src/authz/fga-errors.ts'
import { createFgaApi } from '../../src/authz/openfga.ts'
import { AppError } from '../../src/kernel/errors.ts'
import { native, needsOpenfga } from '../support/native.ts'
import { freePort } from '../support/port.ts'

const missing = '01ARZ3NDEKTSV4RRFFQ69G5FAV'
const timeoutMs = 2_000

async function said(apiUrl: string, apiToken: string | undefined): Promise<string | undefined> {
  const api = createFgaApi({ apiUrl, timeoutMs, ...(apiToken !== undefined && { apiToken }) })
  const error = await api.getStore(missing).catch((thrown: unknown) => thrown)
  const later = new AppError('authorization_unavailable', { internal: 'as at a later start', cause: error })
  const [first, second] = [error, later].map((one) => unusableOpenFga(one, { apiUrl, apiToken })?.message)
  expect(second).toBe(first)
  return first
}

describe('a start that cannot use OpenFGA says its address and that', () => {
  const { url = '', token = '' } = native.openfga ?? {}

  test('it refuses the token, which is not said', needsOpenfga, async () => {
    expect(await said(url, 'a-wrong-one')).toBe(
      `OpenFGA at ${url} cannot be used: it refuses the key of OPENFGA_API_TOKEN (401).`,
    )
  })

  test('it demands a token and none is set', needsOpenfga, async () => {
    expect(await said(url, undefined)).toBe(
      `OpenFGA at ${url} cannot be used: it demands a key, and OPENFGA_API_TOKEN is not set (401).`,
    )
  })

  test('it has no such store', needsOpenfga, async () => {
    expect(await said(url, token)).toBe(
      `OpenFGA at ${url} cannot be used: it has no store ${missing}. Is it another server than before, or OPENFGA_STORE_ID mistyped?`,
    )
  })

  test('nobody listens there', async () => {
    const port = await freePort()
    expect(await said(`http://me:hush@127.0.0.1:${port}`, 'hush')).toBe(
      `OpenFGA at http://127.0.0.1:${port} cannot be used: connect ECONNREFUSED 127.0.0.1:${port}.`,
    )
  })

  test('nothing of an error that is no call to it', () => {
    expect(unusableOpenFga(new Error('ours'), { apiUrl: url, apiToken: token })).toBeUndefined()
  })
})
