import { setTimeout } from 'node:timers/promises'
import { seededRandom } from '@remit/vector-index'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { keepEqual } from '../../../src/retrieval/access-filter/column.ts'
import { type ColumnsDeps, createColumns } from '../../../src/retrieval/access-filter/columns.ts'
import { visibleByQuery } from '../../../src/retrieval/access-filter/visibility.ts'
import { type Content, contentOf } from '../../../src/retrieval/access-filter/visible.ts'
import { type Corpus, createCorpus } from '../../../src/retrieval/corpus/corpus.ts'
import type { Filter, Scalar } from '../../../src/retrieval/filter.ts'
import type { Database } from '../../../src/store/sql.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'

const never = 1_000_000_000

/** As JSON, of documents: among them what a program of ours would never write. */
const storedTexts = [
  ...['1', '1.0', '1.000', '1e0', '10e-1', '0', '-0', '-0.0', '0.1', '0.10', '-1', '1.5', '15e-1'],
  ...['0.1000000000000000055511151231257827', '1e21', '1000000000000000000000', '1e-7', '0.0000001'],
  ...['9007199254740993', '9007199254740992', '123456789012345680000', '1.7976931348623157e308', '5e-324'],
  ...['true', 'false', 'null', '[1]', '["a"]', '{"a":1}', '[]'],
  ...[
    '""',
    '" "',
    '"a"',
    '"A"',
    '"a "',
    '"ä"',
    '"a\\u0308"',
    '"1"',
    '"1.0"',
    '"true"',
    '"null"',
    '"😀"',
    '"ﬁ"',
  ],
  ...['"2026-01-01"', '"today"', JSON.stringify('x'.repeat(256)), JSON.stringify('x'.repeat(257))],
  ...[JSON.stringify('ä'.repeat(128)), JSON.stringify('ä'.repeat(129)), `1.${'0'.repeat(300)}`],
]
const asked: Scalar[] = [
  ...[1, 0, -0, 0.1, -1, 1.5, 2, 1e21, 1e-7, 9007199254740992, 123456789012345680000],
  ...[Number.MAX_VALUE, Number.MIN_VALUE, 1e20, true, false],
  ...[
    '',
    ' ',
    'a',
    'A',
    'a ',
    'ä',
    'a\u0308',
    '1',
    '1.0',
    'true',
    'null',
    '😀',
    'ﬁ',
    'fi',
    'b',
    '2026-01-01',
  ],
  ...['today', 'x'.repeat(256), 'x'.repeat(257), 'ä'.repeat(128), 'ä'.repeat(129)],
]

describeDatabases('fields in columns', (kind) => {
  let database: Database
  let corpus: Corpus
  const statements: string[] = []
  let beforeRead: () => Promise<void> = async () => undefined
  let afterRead: () => Promise<void> = async () => undefined
  let afterLook: () => Promise<void> = async () => undefined
  let server: string | undefined

  beforeAll(async () => {
    database = await openTestDatabase(kind)
    await database.query(`insert into collections (id, title) values ('c', 'C')`)
    await database.query(
      `insert into fields (name, type) values ('text', 'string'), ('number', 'number'), ('flag', 'boolean'), ('day', 'date')`,
    )
    await database.query(
      `insert into documents (id, collection, live_revision, chunk_count, metadata)
       select 'd' || at, 'c', 1, 1, jsonb_build_object('text', value, 'number', value, 'flag', value, 'day', value)
       from unnest($1::jsonb[]) with ordinality as v (value, at)`,
      [storedTexts],
    )
    await database.query(
      `insert into documents (id, collection, live_revision, chunk_count) values ('without', 'c', 1, 1)`,
    )
  })
  afterAll(() => database?.close())
  beforeEach(async () => {
    await database.query(
      `insert into documents (id, collection, live_revision, chunk_count, metadata)
       select 'w' || at, 'c', 1, 1, '{}' from generate_series(1, 32) as at
       on conflict (id) do update set metadata = '{}'`,
    )
    corpus = createCorpus({ database, log: () => undefined, pollMs: never, staleAfterMs: never })
    await corpus.refresh()
    beforeRead = afterRead = afterLook = async () => undefined
    server = undefined
    statements.length = 0
    return () => corpus[Symbol.asyncDispose]()
  })

  const open = (deps: Partial<ColumnsDeps> = {}) =>
    createColumns({
      corpus,
      database: {
        ...database,
        async query(text, values) {
          const isRead = text.includes('group by value')
          statements.push(isRead ? 'read' : 'renew')
          if (isRead) await beforeRead()
          const rows = await database.query(text, values)
          if (isRead) await afterRead()
          return rows as never
        },
        async queryFixedPlan(statement, values) {
          statements.push(statement.name)
          const said = server
          const until = afterLook()
          const rows = await database.queryFixedPlan(statement, values)
          await until
          return rows.map((row) => (said === undefined ? row : { ...row, server: said })) as never
        },
      },
      ...deps,
    })
  const table = () => {
    const known = corpus.current()
    if (known === undefined) throw new Error('The corpus was not read.')
    return known
  }
  const contentOfAll = (isSeen: (docNo: number) => boolean = () => true): Content => {
    const docNos = Int32Array.from(table().live()).filter(isSeen)
    return contentOf(docNos, docNos.length)
  }
  const set = (id: string, metadata: object) =>
    database.query('update documents set metadata = $2 where id = $1', [id, metadata])
  const lookedUp = async (filter: Filter) => {
    const ids = await database.query<{ id: string }>('select id from documents')
    return [
      ...(
        await visibleByQuery(
          { database },
          ids.map(({ id }) => id),
          { filter },
        )
      ).docNos,
    ]
  }
  type Opened = ReturnType<typeof open>
  const ask = async (columns: Opened, filter: Filter) => {
    const found = await columns.within(contentOfAll(), table(), filter)
    return found && [...found.docNos()]
  }
  /** Once the fields are read. */
  const seen = (columns: Opened, filter: Filter) =>
    vi.waitUntil(() => ask(columns, filter), { timeout: 10_000, interval: 5 })

  test('say what is equal as Postgres does, of whatever is stored and whatever is asked for', async () => {
    const columns = open()
    const names = { string: 'text', number: 'number', boolean: 'flag' } as const
    await seen(columns, { text: 'a', number: 1, flag: true })
    let sure = 0
    for (const value of asked) {
      const name = names[typeof value as keyof typeof names]
      const found = await ask(columns, { [name]: value })
      if (found === undefined) continue
      sure += 1
      expect([value, found]).toEqual([value, await lookedUp({ [name]: value })])
    }
    expect(sure).toBe(asked.length - 6)
    // Together, and several of one.
    const random = seededRandom(11)
    const some = <Type>(type: Type) =>
      asked.filter((value) => typeof value === type && random() < 0.3) as Scalar[]
    for (let round = 0; round < 40; round++) {
      const filter: Filter = {
        ...(random() < 0.5 && { text: { in: ['b', ...some('string')] } }),
        ...(random() < 0.5 && { number: { in: [7, ...some('number')] } }),
        flag: { in: [true, ...some('boolean')] },
      }
      const found = await ask(columns, filter)
      if (found !== undefined) expect(found).toEqual(await lookedUp(filter))
    }
  })

  test('leave to the database what they cannot tell: ranges, dates, long values, what is no JSON, and no condition', async () => {
    const columns = open()
    const filters: Filter[] = [
      ...[{}, { number: { gte: 1 } }, { text: 'a', number: { lt: 3 } }, { text: 'x'.repeat(257) }],
      ...[{ text: 'a\0' }, { text: '\ud800' }, { number: 1e21 }],
    ]
    for (const filter of filters) expect(await ask(columns, filter)).toBeUndefined()
    expect(statements).toEqual([])
    expect(await ask(columns, { day: '2026-01-01' })).toBeUndefined()
    expect(await ask(columns, { day: '2026-01-02' })).toBeUndefined()
    expect(statements).toEqual(['filter_look'])
  })

  test('cost one statement for any value once a field was read, whoever asks and whatever they see', async () => {
    const columns = open()
    await ask(columns, { text: 'a' })
    expect(statements).toEqual(['filter_look', 'read'])
    await seen(columns, { text: 'a' })
    statements.length = 0
    for (const isSeen of [() => true, () => false, (docNo: number) => docNo < 4])
      for (const text of ['b', 'A', 'nobody has this'])
        await columns.within(contentOfAll(isSeen), table(), { text })
    expect(statements).toEqual(Array(9).fill('filter_look'))
    statements.length = 0
    await set('w1', { text: 'b' })
    expect(await ask(columns, { text: 'b' })).toEqual(await lookedUp({ text: 'b' }))
    expect(statements).toEqual(['filter_look', 'filter_look', 'renew'])
    statements.length = 0
    expect(await ask(columns, { text: 'a' })).toEqual(await lookedUp({ text: 'a' }))
    expect(statements).toEqual(['filter_look'])
  })

  test('have a value that no document had, and lose one that none has any more', async () => {
    const columns = open()
    expect(await seen(columns, { text: 'newest' })).toEqual([])
    await set('w3', { text: 'newest' })
    const [document] = await database.query<{ doc_no: number }>(
      `select doc_no from documents where id = 'w3'`,
    )
    expect(await ask(columns, { text: 'newest' })).toEqual([document?.doc_no])
    await set('w3', { text: 7 })
    expect(await ask(columns, { text: 'newest' })).toEqual([])
  })

  test('lack nothing that was committed before a question, however many ask and write at once', async () => {
    const columns = open()
    await seen(columns, { text: 'a', number: 1 })
    const random = seededRandom(5)
    // What each document was given last, as far as that is committed.
    const given = new Map<number, { readonly text: string }>()
    const numbers = new Map(
      (
        await database.query<{ doc_no: number; id: string }>(
          `select doc_no, id from documents where id like 'w%'`,
        )
      ).map(({ id, doc_no }) => [Number(id.slice(1)), doc_no]),
    )
    let writing = true
    const write = async (first: number) => {
      for (let round = 0; round < 40; round++) {
        const at = first + 4 * Math.floor(random() * 8)
        given.delete(at)
        await set(`w${at}`, { text: `v${round % 5}`, number: round % 3 })
        given.set(at, { text: `v${round % 5}` })
      }
    }
    const question = async () => {
      while (writing) {
        const text = `v${Math.floor(random() * 5)}`
        const sure = [...given].filter(([, one]) => one.text === text)
        const found = await ask(columns, random() < 0.5 ? { text } : { text, number: { in: [0, 1, 2] } })
        for (const [at, one] of sure) if (given.get(at) === one) expect(found).toContain(numbers.get(at))
      }
    }
    const asking = Promise.all([1, 2, 3, 4, 5, 6].map(question))
    await Promise.all([1, 2, 3, 4].map(write))
    writing = false
    await asking
  })

  test('have what was committed while a field was read, also where others were told of it meanwhile', async () => {
    const columns = open()
    await seen(columns, { number: 1 })
    const read = Promise.withResolvers<void>()
    afterRead = () => read.promise
    expect(await ask(columns, { text: 'meanwhile' })).toBeUndefined()
    await vi.waitUntil(() => statements.filter((one) => one === 'read').length === 2, { timeout: 10_000 })
    await set('w5', { text: 'meanwhile', number: 77 })
    expect(await ask(columns, { number: 77 })).toHaveLength(1)
    read.resolve()
    expect(await seen(columns, { text: 'meanwhile' })).toHaveLength(1)
  })

  test('say nothing of a field that came in after a question had looked, and may lack what that saw', async () => {
    const columns = open()
    await seen(columns, { number: 1 })
    const read = Promise.withResolvers<void>()
    afterRead = () => read.promise
    expect(await ask(columns, { text: 'since' })).toBeUndefined()
    await vi.waitUntil(() => statements.filter((one) => one === 'read').length === 2, { timeout: 10_000 })
    await set('w6', { text: 'since' })
    await ask(columns, { number: 1 })
    // Nothing changed since; what is read now was read before.
    const look = Promise.withResolvers<void>()
    afterLook = () => look.promise
    const question = ask(columns, { text: 'since' })
    afterLook = async () => undefined
    read.resolve()
    await setTimeout(50)
    look.resolve()
    expect(await question).toHaveLength(1)
  })

  test('are read again where another server took over, also between a look and the next, and once the corpus was read anew', async () => {
    let replaced: () => void = () => undefined
    const columns = open({
      corpus: {
        onReplaced(listener) {
          replaced = listener
        },
      },
    })
    const reads = () => statements.filter((one) => one === 'read').length
    expect(await seen(columns, { text: 'lost' })).toEqual([])
    // Under a number of which nobody is told again.
    const loses = async (id: string) => {
      await set(id, { text: 'lost' })
      await database.query(`update documents set changed_in = '3'::xid8 where id = $1`, [id])
    }
    await loses('w8')
    expect(await ask(columns, { text: 'lost' })).toHaveLength(0)
    server = 'another'
    expect(await seen(columns, { text: 'lost' })).toHaveLength(1)
    expect(reads()).toBe(2)
    await loses('w9')
    await set('w10', {})
    afterLook = async () => {
      server = 'a third'
    }
    expect(await seen(columns, { text: 'lost' })).toHaveLength(2)
    expect(reads()).toBe(3)
    await loses('w11')
    replaced()
    expect(await seen(columns, { text: 'lost' })).toHaveLength(3)
    expect(reads()).toBe(4)
  })

  test('are read one look at a time, which nobody waits for, and again where that failed', async () => {
    const columns = open()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    let underWay = 0
    let most = 0
    beforeRead = () => {
      most = Math.max(most, ++underWay)
      return promise.finally(() => {
        underWay -= 1
      })
    }
    const all: Filter[] = [{ text: 'a' }, { text: 'A' }, { number: 1 }, { text: 'a', number: 1 }]
    for (const found of await Promise.all(all.map((filter) => ask(columns, filter))))
      expect(found).toBeUndefined()
    expect(await ask(columns, { text: 'a' })).toBeUndefined()
    expect(most).toBe(1)
    reject(new Error('gone'))
    await vi.waitUntil(() => underWay === 0, { timeout: 10_000 })
    beforeRead = async () => undefined
    resolve()
    for (const filter of all) expect(await seen(columns, filter)).toEqual(await lookedUp(filter))
    expect(statements.filter((one) => one === 'read')).toHaveLength(3)
  })

  test('have no field of too many values, from its reading on or from the value on that is too many', async () => {
    const columns = open({ valuesMax: 6 })
    expect(await ask(columns, { text: 'a' })).toBeUndefined()
    // Nothing is asked for it any more.
    await vi.waitUntil(
      async () => {
        statements.length = 0
        return (await ask(columns, { text: 'b' })) === undefined && statements.length === 0
      },
      { timeout: 10_000 },
    )
    await database.query(`insert into fields (name, type) values ('kind', 'string')`)
    for (let at = 1; at <= 6; at++) await set(`w${at}`, { kind: `k${at}` })
    expect(await seen(columns, { kind: 'k6' })).toHaveLength(1)
    await set('w7', { kind: 'k7' })
    expect(await ask(columns, { kind: 'k6' })).toBeUndefined()
    await database.query(`delete from fields where name = 'kind'`)
  })

  test('are kept in so many bytes, those not asked for longest going first', async () => {
    const filters: Filter[] = [{ text: 'a' }, { number: 1 }, { text: 'A' }]
    const readBy = async (columns: Opened) => {
      statements.length = 0
      for (const filter of filters) expect(await seen(columns, filter)).toEqual(await lookedUp(filter))
      return statements.filter((one) => one === 'read').length
    }
    expect(await readBy(open({ bytesMax: 20_000 }))).toBe(2)
    const small = open({ bytesMax: 10_000, restMs: 0 })
    expect(await readBy(small)).toBe(3)
    expect(await ask(small, { text: 'a', number: 1 })).toBeUndefined()
  })

  test('are not read one after the other for ever where they do not fit together', async () => {
    let now = 0
    const columns = open({ bytesMax: 10_000, elapsed: () => now })
    for (const filter of [{ text: 'a' }, { number: 1 }] as Filter[]) await seen(columns, filter)
    for (let at = 0; at < 5; at++) expect(await ask(columns, { text: 'a', number: 1 })).toBeUndefined()
    expect(await ask(columns, { text: 'A' })).toBeUndefined()
    expect(statements.filter((one) => one === 'read')).toHaveLength(2)
    now = 60_000
    expect(await seen(columns, { text: 'A' })).toEqual(await lookedUp({ text: 'A' }))
    statements.length = 0
    expect(await ask(open({ bytesMax: 2 * table().end }), { text: 'a', number: 1 })).toBeUndefined()
    expect(statements).toEqual([])
  })

  test('have a field again that had too many values, an hour later', async () => {
    let now = 0
    const columns = open({ valuesMax: 6, elapsed: () => now })
    await database.query(`insert into fields (name, type) values ('kind', 'string')`)
    await seen(columns, { kind: 'k' })
    for (let at = 1; at <= 7; at++) {
      await set('w1', { kind: `k${at}` })
      await ask(columns, { kind: 'k' })
    }
    expect(await ask(columns, { kind: 'k7' })).toBeUndefined()
    now = 3_600_000
    expect(await seen(columns, { kind: 'k7' })).toHaveLength(1)
    await database.query(`delete from fields where name = 'kind'`)
  })

  test('are read again under another type, and refuse what is wrong as it is now', async () => {
    const columns = open()
    expect(await seen(columns, { text: '1' })).toHaveLength(1)
    await database.query(`update fields set type = 'number' where name = 'text'`)
    await expect(ask(columns, { text: '1' })).rejects.toMatchObject({ field: 'filter.text' })
    expect(await seen(columns, { text: 1 })).toEqual(await lookedUp({ text: 1 }))
    await database.query(`update fields set type = 'string' where name = 'text'`)
    expect(await seen(columns, { text: '1' })).toHaveLength(1)
    await expect(ask(columns, { nothing: '1' })).rejects.toMatchObject({ field: 'filter.nothing' })
  })
})

test('an equal value takes as many looks, whichever documents that are not seen have it', () => {
  const places = new Map([
    ['a', 1],
    ['b', 2],
  ])
  const looks = (hidden: number, text: string) => {
    let read = 0
    const codes = new Uint16Array(8 * 64).map((_, docNo) => (docNo % 2 === 0 ? 1 : hidden))
    const counted = new Proxy(codes, {
      get(target, key) {
        if (typeof key === 'string' && /^\d+$/.test(key)) read += 1
        const value: unknown = Reflect.get(target, key, target)
        return value
      },
    })
    const bits = new Uint8Array(64)
    for (let at = 0; at < 64; at += 3) bits[at] = 0b0101_0101
    keepEqual(bits, { codes: counted, places, text: 0 }, [text])
    return [read, bits.join()]
  }
  for (const text of ['a', 'b', 'nobody has this']) {
    const [read, bits] = looks(0, text)
    expect(read).toBe(looks(0, 'b')[0])
    for (const hidden of [1, 2]) expect(looks(hidden, text)).toEqual([read, bits])
  }
})
