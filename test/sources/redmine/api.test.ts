import { SourceUnavailable } from '@remit/connector'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { RedmineApi } from '../../../src/sources/kinds/redmine/api.ts'
import { readIssues } from '../../../src/sources/kinds/redmine/items.ts'
import { redmineKind } from '../../../src/sources/kinds/redmine/kind.ts'
import { Permits } from '../../../src/sources/kinds/redmine/permits.ts'

const page = z
  .object({ rows: z.array(z.object({ id: z.int() })), total_count: z.int() })
  .transform(({ rows, total_count: total }) => ({ rows, total }))

/** A list of rows as Redmine pages it, that somebody changes after the first page; and what was asked. */
function openList({
  change,
  base = '',
}: {
  readonly change?: (ids: number[]) => void
  readonly base?: string
}) {
  const ids = Array.from({ length: 250 }, (_, index) => index + 1)
  const asked: string[] = []
  let changes = change === undefined ? 0 : 1
  const api = new RedmineApi({
    key: 'k',
    base,
    async fetch(path) {
      asked.push(path)
      const query = new URL(path, 'https://redmine.example').searchParams
      const [offset, limit] = [Number(query.get('offset')), Number(query.get('limit'))]
      const rows = ids.slice(offset, offset + limit).map((id) => ({ id }))
      const body = Buffer.from(JSON.stringify({ rows, total_count: ids.length }))
      if (changes > 0) change?.(ids)
      changes -= 1
      return { status: 200, headers: new Headers(), body }
    },
  })
  return { api, asked, ids }
}

describe('a list of Redmine', () => {
  test('is read to its end, page by page', async () => {
    const { api, asked, ids } = openList({ base: '/redmine' })
    expect((await api.all('/rows.json', page)).map(({ id }) => id)).toEqual(ids)
    expect(asked).toEqual([
      '/redmine/rows.json?limit=100&offset=0',
      '/redmine/rows.json?limit=100&offset=99',
      '/redmine/rows.json?limit=100&offset=198',
    ])
  })

  test.each([
    ['a row that goes', (ids: number[]) => void ids.splice(50, 1)],
    // As many as before, and one would be passed over.
    ['a row that goes and another that comes', (ids: number[]) => void (ids.splice(50, 1), ids.push(999))],
    ['a row that comes before', (ids: number[]) => void ids.unshift(0)],
  ])('passes nobody over for %s between two pages', async (_, change) => {
    const { api, ids } = openList({ change })
    expect((await api.all('/rows.json', page)).map(({ id }) => id)).toEqual(ids)
  })

  test('counts for nothing where it never stands still, ends early, or is something else', async () => {
    const { api } = openList({})
    await expect(
      api.all(
        '/rows.json',
        z.object({}).transform(() => ({ rows: [{ id: Math.random() }], total: 9 })),
      ),
    ).rejects.toThrow('changed again and again')
    await expect(
      api.all(
        '/rows.json',
        z.object({}).transform(() => ({ rows: [], total: 9 })),
      ),
    ).rejects.toThrow(SourceUnavailable)
    await expect(api.get('/rows.json', z.string())).rejects.toThrow(
      'Redmine answers something else than expected at /rows.json.',
    )
  })

  test('of issues without an end mark is no end', async () => {
    const body = Buffer.from(JSON.stringify({ issues: [], total_count: 3 }))
    const api = new RedmineApi({
      key: 'k',
      base: '',
      fetch: async () => ({ status: 200, headers: new Headers(), body }),
    })
    await expect(readIssues(api, 8)).rejects.toThrow('Redmine counts 3 issues from 8 on, and lists none.')
  })
})

describe('what Redmine answers of trackers', () => {
  const permits = new Permits()
  permits.add({ roles: [1], tracker: 5, isVisible: true })
  permits.add({ roles: [2], tracker: 5, isVisible: false })
  permits.add({ roles: [2, 3], tracker: 5, isVisible: true })
  permits.add({ roles: [4, 6], tracker: 5, isVisible: true })

  test.each([
    ['of a role alone', [1], true],
    ['of a role alone that does not', [2], false],
    ['of a role beside one that does', [1, 2], true],
    ['of the other role of two, of which one does not', [3], true],
    ['of one of two roles', [4], undefined],
    ['of both of them', [4, 6], true],
    ['of a role of which nothing is known', [7], undefined],
    ['of such a role beside one that does not', [2, 7], undefined],
    ['of no role', [], false],
  ] as const)('tells %s', (_, roles, verdict) => {
    expect(permits.verdict(roles, 5)).toBe(verdict)
  })

  test('tells nothing of another tracker', () => {
    expect(permits.verdict([1], 6)).toBeUndefined()
    expect(permits.rule(5)).not.toBe(permits.rule(6))
  })
})

describe('the settings of a Redmine', () => {
  const url = 'https://redmine.example/tracker/'
  const people = [{ account: 7, subject: 'user:anne' }]

  test('name its origin, whatever lies below it', () => {
    expect(redmineKind.read({ url, people }).origin).toBe('https://redmine.example')
  })

  test.each([
    ['settings.url', { url: 'file:///srv' }],
    ['settings.url', { url: 'https://me:secret@redmine.example' }],
    ['settings.url', { url: 'https://redmine.example/?key=1' }],
    ['settings.people.0.account', { people: [{ account: 'anne', subject: 'user:anne' }] }],
    ['settings.people.0.subject', { people: [{ account: 7, subject: 'group:all' }] }],
    ['settings.non_member_role', { non_member_role: 0 }],
    ['settings.key', { key: 'k' }],
  ])('name %s where it is wrong', (field, settings) => {
    expect(() => redmineKind.read({ url, people, ...settings })).toThrow(expect.objectContaining({ field }))
  })
})
