import { expect, test } from 'vitest'
import { contentType, digestOfBody, vaultCallText } from '../../../src/delegation/vault/call.ts'

test('a call is all that a grant is compared with', () => {
  const call = {
    connection: 'c_1',
    method: 'POST',
    path: '/repos/a/b/issues?x=1',
    contentType: 'application/json',
    bodyDigest: digestOfBody(Buffer.from('{"title":"Hello"}')) ?? '',
  }
  const text = vaultCallText(call)
  expect(text).toBe(
    `{"body_digest":"${call.bodyDigest}","connection":"c_1","content_type":"application/json","method":"POST","path":"/repos/a/b/issues?x=1"}`,
  )
  for (const other of [
    { connection: 'c_2' },
    { method: 'PUT' },
    { path: '/repos/a/b/issues?x=2' },
    { contentType: 'text/plain' },
    { bodyDigest: digestOfBody(Buffer.from('{"title":"Hello "}')) ?? '' },
  ])
    expect(vaultCallText({ ...call, ...other }), JSON.stringify(other)).not.toBe(text)
  const { contentType: _, bodyDigest: __, ...bare } = call
  expect(vaultCallText(bare)).toContain('"body_digest":null')
})

test.each([
  ['application/json', true],
  ['text/plain; charset=utf-8', true],
  ['multipart/form-data; boundary="a b"', true],
  ['application/vnd.api+json;v=1', true],
  ['text/plain;CHARSET="US-ASCII"', true],
  ['text/plain; charset=utf-7', false],
  ['text/plain; v=1 ;charset=utf-8; Charset="utf-16"', false],
  ['json', false],
  ['application/json\r\nx: y', false],
  ['application/json,text/plain', false],
  ['application/json;', false],
  ['', false],
])('%j is a media type: %j', (type, expected) => {
  expect(contentType.safeParse(type).success).toBe(expected)
})

test('no bytes are no body', () => {
  expect(digestOfBody(undefined)).toBeUndefined()
  expect(digestOfBody(new Uint8Array())).toBeUndefined()
  expect(digestOfBody(Buffer.from(' '))).toMatch(/^[\w-]{43}$/)
})
