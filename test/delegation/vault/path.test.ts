import { describe, expect, test } from 'vitest'
import { resolvePath } from '../../../src/delegation/vault/path.ts'
import fc from '../../support/properties.ts'

const origins = ['https://api.acme.example', 'https://files.acme.example:8443']
const resolve = (path: string) => resolvePath(path, origins)

describe('a path at a provider', () => {
  test.each([
    ['/', [''], []],
    ['/user', ['user'], []],
    ['/repos/a/b/', ['repos', 'a', 'b', ''], []],
    ['/repos/a/b?state=open&page=2', ['repos', 'a', 'b'], ['state', 'page']],
    ['/files/%C3%BC%20b', ['files', 'ü b'], []],
    ['/a/...', ['a', '...'], []],
    ['/a.b/.well-known', ['a.b', '.well-known'], []],
    ['/search?q=repo%3Aa%2Fb+%2525&q=%3B', ['search'], ['q', 'q']],
    ['/search?a+b=1&filter%5Bx%5D=2&flag', ['search'], ['a b', 'filter[x]', 'flag']],
    ['/users/me@acme.example', ['users', 'me@acme.example'], []],
    ['/files/a%5B1%5D', ['files', 'a[1]'], []],
    ['/search?a?b=1', ['search'], ['a?b']],
    [`/${'a'.repeat(2_047)}`, ['a'.repeat(2_047)], []],
  ])('is read in one way: %s', (path, segments, parameters) => {
    expect(resolve(path)).toMatchObject({
      ok: true,
      value: { url: `https://api.acme.example${path}`, text: path, segments, parameters },
    })
  })

  test('may be at another of its origins, which then is a part of what is approved', () => {
    expect(resolve('https://files.acme.example:8443/a?b')).toMatchObject({
      ok: true,
      value: {
        url: 'https://files.acme.example:8443/a?b',
        text: 'https://files.acme.example:8443/a?b',
        segments: ['a'],
      },
    })
    expect(resolve('https://api.acme.example/a')).toMatchObject({ ok: true, value: { text: '/a' } })
  })

  test.each([
    // other hosts
    '',
    'user',
    '//evil.example/user',
    '///evil.example',
    '/\\evil.example',
    '\\\\evil.example',
    'https://evil.example/',
    'https://api.acme.example',
    'https://api.acme.example@evil.example/',
    'https://api.acme.example.evil.example/',
    'https://api.acme.example:444/',
    'https://user@api.acme.example/',
    'http://api.acme.example/',
    'HTTPS://api.acme.example/',
    '@evil.example/',
    ':443@evil.example',
    '.evil.example/',
    'http:/user',
    'file:///etc/passwd',
    ' /user',
    '\t/user',
    '/\t/evil.example',
    '/\n/evil.example',
    // other paths than the ones they look like
    '/a/../b',
    '/a/./b',
    '/..',
    '/a/..',
    '/a/%2e%2e/b',
    '/a/.%2E/b',
    '/a/%2e/b',
    '/a/x%2ejson',
    '/a/..;/b',
    '/a;v=1/b',
    '/a/%3bv=1',
    '/a%2Fb',
    '/a%2fb',
    '/a\\b',
    '/a%5Cb',
    '/a//b',
    '//',
    '/a/%252e%252e/b',
    '/a/%252Fb',
    '/a%25',
    '/a%3Fb',
    '/a%23b',
    '/a#b',
    '/a?b#c',
    '/a/%E2%80%A5/b', // ‥, two dots in one
    '/a/%EF%BC%8E%EF%BC%8E/b', // ．．
    '/a%EF%BC%8Fb', // ／
    '/a%EF%BC%BCb', // ＼
    // characters that end or split lines and strings
    '/a b',
    '/a\r\nb',
    '/a%0d%0aHost:%20evil.example',
    '/a%00',
    '/a%7F',
    '/a\0',
    '/ä',
    '/a?b=%0a',
    '/a?b=%',
    '/a?b=%zz',
    '/a?b=%1z',
    '/a?b=%00',
    '/a?b=ä',
    '/a?b=;c',
    // what does not decode, or not once
    '/%',
    '/%zz',
    '/%u0041',
    '/%FF',
    '/%C0%AE%C0%AE/',
    '/%ED%A0%80',
    '/a?%FF=1',
    '/a?%2525=1',
    '/a?=1',
    '/a?&',
    '/a?b&&c',
    '/a?a%26b=1',
    '/a?a%3Db=1',
    // what the parser would write in another way
    '/a"b',
    '/a<b>',
    '/a`b',
    '/a{b}',
    '/a?b="c"',
    "/a?b='c'",
    '/a?',
    `/${'a'.repeat(2_048)}`,
  ])('is refused where two could read it in two ways: %j', (path) => {
    expect(resolve(path)).toMatchObject({ ok: false, reason: 'bad_path' })
  })

  test.each([
    ['/ä', /printable ASCII/],
    ['/%1z', /%XX/],
    ['/%FF', /UTF-8/],
    ['/a%2Fb', /encoded slash/],
    ['/a//b', /empty segment/],
    ['user', /a slash or with an origin of this API: https:\/\/api/],
  ])('is refused with what to change: %s', (path, detail) => {
    expect(resolve(path)).toMatchObject({ ok: false, detail: expect.stringMatching(detail) })
  })

  test('is never anywhere else than at one of the origins, and is sent as it stands, whatever is asked for', () => {
    const piece = fc.constantFrom(
      ...[
        '/',
        '.',
        '..',
        '%2e',
        '%2F',
        '%252f',
        '\\',
        ';',
        '?',
        '#',
        '&',
        '=',
        '@',
        ':',
        '%',
        '%00',
        '\t',
        '\n',
      ],
      ...[
        'a',
        'b%20c',
        'https:',
        'evil.example',
        '//',
        'ü',
        '%C3%BC',
        '．',
        '+',
        '"',
        "'",
        '[',
        ']',
        '{',
        '|',
        '^',
        '~',
      ],
    )
    const path = fc
      .tuple(fc.constantFrom('/', '', origins[0] ?? '', `${origins[1]}/`), fc.array(piece, { maxLength: 8 }))
      .map(([start, pieces]) => start + pieces.join(''))
    let resolved = 0
    fc.assert(
      fc.property(path, (asked) => {
        const result = resolve(asked)
        if (!result.ok) return
        resolved += 1
        const { url, segments } = result.value
        const parsed = new URL(url)
        expect(origins).toContain(parsed.origin)
        expect([parsed.href, parsed.username, parsed.hash]).toEqual([url, '', ''])
        expect(url.endsWith(asked)).toBe(true)
        // Reading it again, or decoding it twice, changes nothing that has a meaning.
        expect(segments.some((one) => /^\.\.?$|[/\\;%]/.test(one))).toBe(false)
        expect(parsed.pathname.slice(1).split('/').map(decodeURIComponent)).toEqual(segments)
      }),
      { numRuns: 5_000 },
    )
    expect(resolved).toBeGreaterThan(100)
  })
})
