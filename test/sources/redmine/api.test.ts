import { SourceUnavailable } from '@remit/connector'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { OutboundResponse } from '../../../src/outbound/guarded-fetch.ts'
import { Throttled, TooLarge, Unfinished } from '../../../src/sources/fetch.ts'
import { RedmineApi } from '../../../src/sources/kinds/redmine/api.ts'
import { Faults } from '../../../src/sources/kinds/redmine/faults.ts'
import { readIssues } from '../../../src/sources/kinds/redmine/items.ts'
import { redmineKind } from '../../../src/sources/kinds/redmine/kind.ts'
import { listIssues } from '../../../src/sources/kinds/redmine/listing.ts'
import { Permits } from '../../../src/sources/kinds/redmine/permits.ts'

const answerOf = (body: object, status = 200): OutboundResponse => ({
  status,
  headers: new Headers(),
  body: Buffer.from(JSON.stringify(body)),
})

const page = z
  .object({ rows: z.array(z.object({ id: z.int() })), total_count: z.int() })
  .transform(({ rows, total_count: total }) => ({ rows, total }))

/** A list of rows as Redmine pages it, that somebody changes after the first page; and what was asked. */
function openList({
  change,
  base = '',
  rowsMax = 100,
}: {
  readonly change?: (ids: number[]) => void
  readonly base?: string
  /** More of them are too large. */
  readonly rowsMax?: number
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
      if (limit > rowsMax) throw new TooLarge('Too large.')
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

  test('is read in smaller pages where they are too large, and not at all where a row is', async () => {
    const { api, asked, ids } = openList({ rowsMax: 30 })
    expect((await api.all('/rows.json', page)).map(({ id }) => id)).toEqual(ids)
    expect(asked.slice(0, 4).map((path) => path.replace('/rows.json?', ''))).toEqual([
      'limit=100&offset=0',
      'limit=50&offset=0',
      'limit=25&offset=0',
      'limit=25&offset=24',
    ])
    const tooLarge = await openList({ rowsMax: 1 })
      .api.all('/rows.json', page)
      .catch((error: unknown) => error)
    expect(tooLarge).toBeInstanceOf(SourceUnavailable)
    expect(String(tooLarge)).toContain('too large')
  })

  test('fails as a whole where a page of it fails otherwise', async () => {
    let count = 0
    const api = new RedmineApi({
      key: 'k',
      base: '',
      fetch: async () => {
        count += 1
        return answerOf({}, count === 1 ? 200 : 500)
      },
    })
    await expect(api.all('/rows.json', page)).rejects.toThrow(SourceUnavailable)
    await expect(api.all('/rows.json', page)).rejects.toThrow('Redmine answers 500')
    expect(count).toBe(2)
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

interface IssuesOptions {
  readonly ids: readonly number[]
  /** At which of them Redmine fails, and how. */
  readonly bad?: readonly number[]
  readonly fail?: () => OutboundResponse
  /** Instead of all that. */
  readonly instead?: (path: string) => OutboundResponse | undefined
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index)
const refused = () => answerOf({}, 500)
const issueRow = (id: number) => ({
  ...{ id, project: { id: 1 }, tracker: { id: 1 }, is_private: false },
  ...{ subject: '', updated_on: '' },
})

/** Lists the issues of a Redmine: what of them came, and what was asked. */
async function listed({ ids, bad = [], fail = refused, instead = () => undefined }: IssuesOptions) {
  const asked: string[] = []
  const api = new RedmineApi({
    key: 'k',
    base: '',
    async fetch(path) {
      asked.push(path)
      const answer = instead(path)
      if (answer !== undefined) return answer
      const query = new URL(path, 'https://redmine.example').searchParams
      const from = Number(/^>=(\d+)$/.exec(query.get('issue_id') ?? '')?.[1] ?? Number.POSITIVE_INFINITY)
      const left = ids.filter((id) => id >= from)
      const offset = Number(query.get('offset'))
      const shown = left.slice(offset, offset + Number(query.get('limit')))
      if (shown.some((id) => bad.includes(id))) return fail()
      const issues = shown.map(issueRow)
      return answerOf({ issues, total_count: left.length })
    },
  })
  const came: number[] = []
  const gaps: string[] = []
  const error = await (async () => {
    for await (const part of listIssues({ api, faults: new Faults(api), signal: undefined }))
      if (part.kind === 'issues') came.push(...part.issues.map(({ id }) => id))
      else gaps.push(`${part.from} to before ${part.to}: ${part.problem.replace(/ at .*/, '')}`)
  })().catch((reason: unknown) => reason)
  return { came, gaps, asked, error }
}

describe('issues at which Redmine fails', () => {
  test.each([
    [[1], ['1 to before 2']],
    [[42], ['42 to before 43']],
    [[250], ['250 to before Infinity']],
    [
      [100, 101, 102, 180],
      ['100 to before 103', '180 to before 181'],
    ],
    [range(60, 99), ['60 to before 100']],
  ])('are passed over alone: %j', async (bad, expected) => {
    const ids = range(1, 250)
    const { came, gaps, error, asked } = await listed({ ids, bad })
    expect(error).toBeUndefined()
    expect(came).toEqual(ids.filter((id) => !bad.includes(id)))
    expect(gaps).toEqual(expected.map((text) => `${text}: Redmine answers 500`))
    expect(asked.length).toBeLessThan(80)
  })

  test('lie between the ids of those beside them, where ids are missing', async () => {
    const { came, gaps } = await listed({ ids: [3, 8, 20, 21, 40], bad: [8, 40] })
    expect(came).toEqual([3, 20, 21])
    expect(gaps.map((text) => text.replace(/:.*/, ''))).toEqual(['4 to before 20', '22 to before Infinity'])
  })

  const failures: readonly (readonly [string, () => OutboundResponse])[] = [
    [
      'is too large',
      () => {
        throw new TooLarge('')
      },
    ],
    [
      'does not come in time',
      () => {
        throw new Unfinished('')
      },
    ],
    ['is no JSON', () => ({ ...answerOf({}), body: Buffer.from('{"issues": [{"id": 7') })],
    ['has another shape', () => answerOf({ issues: [{ id: '42' }], total_count: 250 })],
  ]
  test.each(failures)('do not stop the others where what Redmine answers %s', async (_, fail) => {
    const ids = range(1, 250)
    const { came, gaps, error } = await listed({ ids, bad: [42], fail })
    expect([error, came, gaps.length]).toEqual([undefined, ids.filter((id) => id !== 42), 1])
  })

  test('none: a page that is full is not the last one, whatever Redmine counted a moment before it', async () => {
    const ids = range(1, 250)
    let isFirst = true
    const instead = (path: string) => {
      const isLate = isFirst && path.includes('%3D1&')
      isFirst = false
      if (!isLate) return undefined
      return answerOf({ issues: range(1, 100).map(issueRow), total_count: 100 })
    }
    expect(await listed({ ids, instead })).toMatchObject({ came: ids, gaps: [], error: undefined })
  })

  test('only together are passed over by none', async () => {
    const ids = range(1, 250)
    const instead = (path: string) => {
      if (Number(/limit=(\d+)/.exec(path)?.[1]) > 10) throw new TooLarge('')
      return undefined
    }
    expect(await listed({ ids, instead })).toMatchObject({ came: ids, gaps: [], error: undefined })
  })

  test('one and all, are a Redmine that fails: it is asked a few times and no more', async () => {
    const ids = range(1, 5_000)
    const all = await listed({ ids, bad: ids })
    expect([all.error, all.came, all.gaps]).toEqual([expect.any(SourceUnavailable), [], []])
    expect(all.asked.length).toBeLessThan(70)
    const slow = await listed({
      ids,
      bad: ids,
      fail: () => {
        throw new Unfinished('')
      },
    })
    expect(slow.error).toBeInstanceOf(SourceUnavailable)
    expect(slow.asked.length).toBeLessThan(20)
    // Each other one: it fails for too much, and ends.
    const half = await listed({ ids: range(1, 1_600), bad: range(1, 800).map((id) => 2 * id) })
    expect(half.error).toBeInstanceOf(SourceUnavailable)
    expect(half.asked.length).toBeLessThan(5_000)
  })

  const away: readonly (readonly [string, number, () => OutboundResponse])[] = [
    ['answers 500 to everything', 2, refused],
    ['answers something else to everything', 2, () => answerOf({})],
    ['lets nobody in', 1, () => answerOf({}, 401)],
    [
      'asks to come again later',
      1,
      () => {
        throw new Throttled(60)
      },
    ],
    [
      'does not answer',
      1,
      () => {
        throw new SourceUnavailable('unreachable')
      },
    ],
  ]
  test.each(away)('are none of a Redmine that %s: it is away as a whole', async (_, count, instead) => {
    const { came, gaps, error, asked } = await listed({ ids: range(1, 250), instead })
    expect([error, came, gaps, asked.length]).toEqual([expect.any(SourceUnavailable), [], [], count])
  })

  test('are none of one that goes away meanwhile', async () => {
    let count = 0
    const instead = () => {
      count += 1
      if (count > 12) throw new SourceUnavailable('unreachable')
      return undefined
    }
    const { error, gaps } = await listed({ ids: range(1, 250), bad: [99], instead })
    expect([error, gaps]).toEqual([expect.any(SourceUnavailable), []])
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
    expect(permits.rule(5, new Set([1]))).not.toBe(permits.rule(6, new Set([1])))
  })

  test.each([
    ['of other roles', [1, 9], false, [4, 6], true],
    ['of one of them beside another role', [4, 9], true, [4, 6], true],
    ['of no less than was known', [4, 6, 8], true, [4, 6, 8], true],
    ['that one of them alone sees it', [4], true, [4, 6], false],
    ['that one of them alone does not', [4], false, [4, 6], false],
  ] as const)(
    'has a rule for some roles that an answer %s changes, or not',
    (_, roles, isVisible, held, isSame) => {
      const known = new Permits()
      known.add({ roles: [4, 6], tracker: 5, isVisible: true })
      const before = known.rule(5, new Set(held))
      known.add({ roles, tracker: 5, isVisible })
      expect(known.rule(5, new Set(held)) === before).toBe(isSame)
    },
  )
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
