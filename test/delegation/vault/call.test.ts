import { describe, expect, test } from 'vitest'
import { callOf, digestOfBody, vaultCallDetail, vaultCallText } from '../../../src/delegation/vault/call.ts'

const detail = {
  type: 'vault_call',
  connection: 'github',
  method: 'POST',
  path: '/repos/a/b/issues?x=1',
  content_type: 'application/json',
  body_digest: digestOfBody(Buffer.from('{"title":"Hello"}')),
}
const isDetail = (value: unknown): boolean => vaultCallDetail.safeParse(value).success

describe('a call, as it is asked for', () => {
  test('is all that a grant is compared with', () => {
    const call = callOf(vaultCallDetail.parse(detail))
    const text = vaultCallText(call)
    expect(text).toBe(
      `{"body_digest":"${detail.body_digest}","connection":"github","content_type":"application/json","method":"POST","path":"/repos/a/b/issues?x=1"}`,
    )
    for (const other of [
      { connection: 'gitlab' },
      { method: 'PUT' },
      { path: '/repos/a/b/issues?x=2' },
      { contentType: 'text/plain' },
      { bodyDigest: digestOfBody(Buffer.from('{"title":"Hello "}')) ?? '' },
    ])
      expect(vaultCallText({ ...call, ...other }), JSON.stringify(other)).not.toBe(text)
    const { content_type: _, body_digest: __, ...bare } = detail
    expect(vaultCallText(callOf(vaultCallDetail.parse(bare)))).toContain('"body_digest":null')
  })

  test.each([
    { body: 'x' },
    { grant: 'g_1' },
    { type: 'document_access' },
    { connection: '' },
    { method: 'post' },
    { method: 'CONNECT' },
    { method: 'TRACE' },
    { method: 'GET' },
    { path: '' },
    { path: undefined },
    { body_digest: 'short' },
    { body_digest: undefined },
    { content_type: 'json' },
    { content_type: 'application/json\r\nx: y' },
    { content_type: 'application/json,text/plain' },
    { content_type: ['application/json'] },
  ])('is refused with %j', (change) => {
    expect(isDetail(detail)).toBe(true)
    expect(isDetail({ ...detail, ...change })).toBe(false)
  })

  test.each([
    'text/plain; charset=utf-8',
    'multipart/form-data; boundary="a b"',
    'application/vnd.api+json;v=1',
  ])('may have the media type %s', (type) => {
    expect(isDetail({ ...detail, content_type: type })).toBe(true)
  })
})

test('no bytes are no body', () => {
  expect(digestOfBody(undefined)).toBeUndefined()
  expect(digestOfBody(new Uint8Array())).toBeUndefined()
  expect(digestOfBody(Buffer.from(' '))).toMatch(/^[\w-]{43}$/)
})
