import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import {
  type Change,
  type LoadedItem,
  type Source,
  SourceUnavailable,
  type SourceWorld,
  sourceRules,
} from '@remit/connector'
import { describe, expect, test } from 'vitest'
import type { OutboundResponse } from '../../../src/outbound/guarded-fetch.ts'
import { TooLarge, Unfinished } from '../../../src/sources/fetch.ts'
import {
  createDokuwikiSource,
  type DokuwikiOptions,
} from '../../../src/sources/kinds/dokuwiki/dokuwiki-source.ts'
import { createWiki } from '../../../src/sources/kinds/dokuwiki/wiki.ts'
import { readersOf } from './readers.ts'
import { needsDokuwiki, needsRootAndDokuwiki, openWikiServer, type WikiServer } from './server.ts'

const people = [
  { account: 'anne', subject: 'user:anne' },
  { account: 'bob', subject: 'user:bob' },
]

interface OpenWiki extends AsyncDisposable {
  readonly server: WikiServer
  readonly source: Source
  /** Of each request to the wiki, before it is sent. */
  before: (method: string) => Promise<void>
  /** By their methods. */
  readonly asked: string[]
  /** What is told from a cursor on, with the directory before it. */
  read(cursor?: string): Promise<{ readonly changes: readonly Change[]; readonly cursor: string }>
  /** The text of each page that a reading from the beginning brings → who reads it. */
  brought(): Promise<ReadonlyMap<string, readonly string[]>>
}

/** A wiki in which anne and bob, of the group staff, may read everything. */
async function openWiki(
  options: Partial<DokuwikiOptions> = {},
  secret: string | undefined = undefined,
): Promise<OpenWiki> {
  const server = await openWikiServer()
  server.setUsers([
    { name: 'anne', groups: ['staff'] },
    { name: 'bob', groups: ['staff'] },
  ])
  server.setAcl(['*\t@ALL\t0', '*\t@staff\t1'])
  const inner = createDokuwikiSource(
    { url: server.url, collection: 'wiki', prefix: 'wiki/', people, isPublic: false, ...options },
    createWiki({
      path: '',
      secret: secret ?? server.secret,
      async fetch(path, request) {
        const method = /plugin\.remit\.(\w+)/.exec(request?.body ?? '')?.[1] ?? ''
        wiki.asked.push(method)
        await wiki.before(method)
        return server.fetch(path, request)
      },
    }),
  )
  const wiki: OpenWiki = {
    server,
    asked: [],
    before: async () => undefined,
    source: {
      directory: () => inner.directory(),
      async *changes(cursor, signal) {
        await inner.directory(signal)
        yield* inner.changes(cursor, signal)
      },
      async item(id, signal) {
        await inner.directory(signal)
        return inner.item(id, signal)
      },
    },
    async read(cursor) {
      const pages = []
      for await (const page of wiki.source.changes(cursor)) pages.push(page)
      return { changes: pages.flatMap(({ changes }) => changes), cursor: pages.at(-1)?.cursor ?? '' }
    },
    async brought() {
      const directory = await inner.directory()
      const found = new Map<string, readonly string[]>()
      for await (const { changes } of inner.changes(undefined))
        for (const change of changes) {
          if (change.kind !== 'item' || typeof change.content !== 'function') continue
          const loaded = await change.content()
          const [parent = ''] = loaded.access.parents ?? []
          if (loaded.version === change.version)
            found.set(loaded.content.text ?? '', [...readersOf(directory, parent)].sort())
        }
      return found
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
  return wiki
}

const itemsOf = (changes: readonly Change[]) => changes.filter((change) => change.kind === 'item')
const brokenOf = (changes: readonly Change[]) => changes.filter((change) => change.kind === 'broken')

async function loadAll(changes: readonly Change[]): Promise<readonly LoadedItem[]> {
  const loaded: LoadedItem[] = []
  for (const { content } of itemsOf(changes)) if (typeof content === 'function') loaded.push(await content())
  return loaded
}

describe('a DokuWiki as a source', needsDokuwiki, () => {
  describe('keeps the rules of every source:', () => {
    test.each(sourceRules.map(({ title, check }) => [title, check] as const))('%s', async (_, check) => {
      await using wiki = await openWiki()
      const { server, source } = wiki
      const world: SourceWorld = {
        source,
        async put(name, content) {
          await server.put(name, content)
          return `wiki/${name}`
        },
        remove: (name) => server.put(name, ''),
        spoil: async (name) => server.write(`pages/${name}.txt`, 'x'.repeat(5_000_001)),
      }
      await expect(check(world)).resolves.toBeUndefined()
    })
  })

  test('asks twice where nothing changed, and for what changed only, many pages at once', async () => {
    await using wiki = await openWiki()
    for (let index = 0; index < 60; index += 1) wiki.server.write(`pages/p${index}.txt`, `Page ${index}.`)
    const first = await wiki.read()
    expect((await loadAll(first.changes)).length).toBe(60)
    expect(wiki.asked.filter((method) => method === 'texts').length).toBe(2)
    wiki.asked.length = 0
    wiki.server.write('pages/p7.txt', 'Another.')
    const second = await wiki.read(first.cursor)
    expect((await loadAll(second.changes)).map(({ content }) => content.text)).toEqual(['Another.'])
    wiki.asked.length = 0
    expect((await wiki.read(second.cursor)).changes).toEqual([])
    expect(wiki.asked).toEqual(['permissions', 'versions'])
  })

  test('tells no page anew whose namespace got other readers', async () => {
    await using wiki = await openWiki()
    const { server } = wiki
    for (const name of ['hr/plan', 'hr/old/plan', 'start']) server.write(`pages/${name}.txt`, name)
    const { cursor } = await wiki.read()
    for (const line of ['hr:*\tanne\t0', 'hr:*\t@ALL\t0', 'hr:old:*\tbob\t1', 'hr:*\t%USER%\t0'])
      for (const lines of [[line], ['*\t@ALL\t1', line]]) {
        server.setAcl(lines)
        expect((await wiki.read(cursor)).changes, line).toEqual([])
      }
  })

  test('gives a page its first heading as title, its address, and its source as it is written', async () => {
    await using wiki = await openWiki({ url: 'https://wiki.example/w' })
    const text = '  ===== Straße & <b>"Hof"</b> =====  \nKind\u0000 of & <only @hr>secret</only>\n'
    wiki.server.write('pages/hr/plan_b.txt', text)
    wiki.server.write('pages/hr/plain_text.txt', 'No heading. ==')
    wiki.server.write(`pages/long.txt`, '='.repeat(1_000_000))
    const loaded = await loadAll((await wiki.read()).changes)
    expect(loaded.map(({ content: { title, uri } }) => [title, uri])).toEqual([
      ['plain text', 'https://wiki.example/w/doku.php?id=hr:plain_text'],
      ['Straße & <b>"Hof"</b>', 'https://wiki.example/w/doku.php?id=hr:plan_b'],
      ['long', 'https://wiki.example/w/doku.php?id=long'],
    ])
    expect(loaded[1]?.content.text).toBe(text)
  })

  test('has an id for every name, and brings only what the wiki itself shows', async () => {
    await using wiki = await openWiki()
    const { server } = wiki
    server.setConf(`$conf['hidepages'] = 'secret'; $conf['deaccent'] = 0;`)
    server.write('pages/secret_plan.txt', 'Hidden from its own search.')
    server.write('pages/Upper.txt', 'No name leads here.')
    server.write('pages/%D0%BF%D0%BB%D0%B0%D0%BD.txt', 'Plan.')
    server.write(`pages/${'%D0%BF'.repeat(40)}.txt`, 'Long.')
    server.write('pages/large.txt', 'x'.repeat(5_000_001))
    const { changes } = await wiki.read()
    const ids = itemsOf(changes).map(({ id }) => id)
    expect(ids).toEqual(
      expect.arrayContaining(['wiki/%D0%BF%D0%BB%D0%B0%D0%BD', expect.stringMatching(/^wiki\/\+[\w-]{43}$/)]),
    )
    expect(ids.length).toBe(2)
    expect(brokenOf(changes)).toEqual([
      { kind: 'broken', id: 'wiki/large', name: 'large', problem: 'It has more than 5000000 bytes.' },
    ])
  })
})

describe('a page at which a DokuWiki fails', needsDokuwiki, () => {
  /** A wiki of 60 pages that fails at the texts of some of them. */
  async function openFailing(
    fails: (request: string) => boolean,
    how: () => OutboundResponse,
    failsAll = () => false,
  ) {
    const wiki = await openWiki()
    for (let index = 0; index < 60; index += 1) wiki.server.write(`pages/p${index}.txt`, `Page ${index}.`)
    const { fetch } = wiki.server
    Object.assign(wiki.server, {
      async fetch(...args: Parameters<typeof fetch>) {
        const body = args[1]?.body ?? ''
        return failsAll() || (body.includes('plugin.remit.texts') && fails(body)) ? how() : fetch(...args)
      },
    })
    return wiki
  }
  const answer = (status: number): OutboundResponse => ({
    status,
    headers: new Headers(),
    body: Buffer.from('<b>Fatal error</b>: Allowed memory size exhausted'),
  })
  const loadEach = async (changes: readonly Change[]) => {
    const outcomes: string[] = []
    for (const { id, content } of itemsOf(changes))
      if (typeof content === 'function')
        outcomes.push(
          await content().then(
            (loaded) => `${id} ${loaded.content.text}`,
            (error: unknown) => {
              if (error instanceof SourceUnavailable) throw error
              return `${id} failed`
            },
          ),
        )
    return outcomes
  }

  test.each([
    ['500', () => answer(500)],
    ['half an answer', () => answer(200)],
    [
      'none in time',
      () => {
        throw new Unfinished('')
      },
    ],
    [
      'one that is too large',
      () => {
        throw new TooLarge('')
      },
    ],
  ])('stops no other one: %s', async (_, how) => {
    await using wiki = await openFailing((body) => /"p(7|33)"/.test(body), how)
    const outcomes = await loadEach((await wiki.read()).changes)
    expect(outcomes.length).toBe(60)
    expect(outcomes.filter((text) => text.endsWith('failed')).sort()).toEqual([
      'wiki/p33 failed',
      'wiki/p7 failed',
    ])
    expect(wiki.asked.filter((method) => method === 'texts').length).toBeLessThan(35)
    expect(await wiki.source.item('wiki/p7')).toMatchObject({ kind: 'broken', id: 'wiki/p7' })
    expect(await wiki.source.item('wiki/p8')).toMatchObject({ kind: 'item' })
  })

  test('among many is a wiki that fails, which is asked a few times and no more', async () => {
    let isAway = false
    await using wiki = await openFailing(
      () => true,
      () => answer(500),
      () => isAway,
    )
    const { changes } = await wiki.read()
    isAway = true
    await expect(loadEach(changes)).rejects.toThrow('The wiki answers 500.')
    expect(wiki.asked.filter((method) => method === 'texts').length).toBeLessThan(30)
  })

  test('beside others of the kind stops none that comes after them, and costs so much time and no more', async () => {
    await using wiki = await openFailing(
      (body) => /"p(1\d|2\d|3\d)"/.test(body),
      () => answer(500),
    )
    const outcomes = await loadEach((await wiki.read()).changes)
    expect(outcomes.filter((text) => text.endsWith('failed'))).toHaveLength(30)
    expect(outcomes).toHaveLength(60)
    expect(wiki.asked.filter((method) => method === 'texts').length).toBeLessThan(80)

    await using slow = await openFailing(
      () => true,
      () => {
        throw new Unfinished('')
      },
    )
    const all = await loadEach((await slow.read()).changes)
    expect(all.filter((text) => text.endsWith('failed'))).toHaveLength(60)
    expect(slow.asked.filter((method) => method === 'texts')).toHaveLength(25)
  })
})

describe('while a DokuWiki is read', needsDokuwiki, () => {
  test('what is written after an unshare is never brought under the readers of before', async () => {
    await using wiki = await openWiki()
    const { server } = wiki
    const brought: string[] = []
    for (let at = 1; at <= 6; at += 1) {
      server.setAcl(['*\t@staff\t1'])
      server.write('pages/plan.txt', 'Open.')
      let count = 0
      wiki.before = async () => {
        count += 1
        if (count !== at) return
        server.setAcl(['*\t@ALL\t0'])
        server.write('pages/plan.txt', 'Secret.')
      }
      const found = await wiki.brought().catch((error: unknown) => {
        expect(error).toBeInstanceOf(SourceUnavailable)
        return new Map<string, readonly string[]>()
      })
      expect(found.get('Secret.') ?? [], `before request ${at}`).toEqual([])
      brought.push(...found.keys())
    }
    expect(new Set(brought)).toEqual(new Set(['Secret.', 'Open.']))
  })

  test('nor is what was written while nobody could read it, and was taken away before they could again', async () => {
    await using wiki = await openWiki()
    const { server } = wiki
    server.write('pages/plan.txt', 'Open.')
    wiki.before = async (method) => {
      if (method === 'texts') {
        server.setAcl(['*\t@ALL\t0'])
        server.write('pages/plan.txt', 'Secret.')
      }
    }
    let isBack = false
    const { fetch } = server
    Object.assign(server, {
      async fetch(...args: Parameters<typeof fetch>) {
        const answer = await fetch(...args)
        if (args[1]?.body?.includes('plugin.remit.texts') === true) {
          isBack = true
          server.write('pages/plan.txt', 'Open.')
          server.setAcl(['*\t@ALL\t0', '*\t@staff\t1'])
        }
        return answer
      },
    })
    expect([...(await wiki.brought())]).toEqual([])
    expect(await wiki.source.item('wiki/plan')).toMatchObject({ kind: 'broken', id: 'wiki/plan' })
    expect(isBack).toBe(true)
  })

  test('somebody who leaves a group meanwhile ends the reading', async () => {
    await using wiki = await openWiki()
    wiki.server.write('pages/plan.txt', 'Open.')
    wiki.before = async (method) => {
      if (method === 'texts') wiki.server.setUsers([{ name: 'anne', groups: [] }])
    }
    await expect(wiki.brought()).rejects.toThrow('Who may read what changed')
  })

  test('a page that is deleted meanwhile is gone, and one that changes again and again is broken', async () => {
    await using wiki = await openWiki()
    const { server, source } = wiki
    server.write('pages/plan.txt', 'Open.')
    wiki.before = async (method) => {
      if (method === 'texts') await server.put('plan', '')
    }
    expect(await source.item('wiki/plan')).toEqual({ kind: 'deleted', id: 'wiki/plan' })
    wiki.before = async () => undefined
    server.write('pages/plan.txt', 'Open.')
    let count = 0
    wiki.before = async () => {
      count += 1
      server.write('pages/plan.txt', `Version ${count}.`)
    }
    expect(await source.item('wiki/plan')).toMatchObject({ kind: 'broken', id: 'wiki/plan' })
  })
})

describe('the plugin', needsDokuwiki, () => {
  const refused = async (wiki: OpenWiki): Promise<string> => {
    const error: unknown = await wiki.read().catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(SourceUnavailable)
    return error instanceof Error ? error.message : ''
  }

  test('answers the one account that it is set up for, and no other, a superuser neither', async () => {
    for (const secret of ['anne:pw', 'root:pw', 'remit:wrong', 'remit', ':']) {
      await using wiki = await openWiki({}, secret)
      expect(await refused(wiki), secret).toMatch(/does not let us in|another account/)
    }
    await using wiki = await openWiki()
    wiki.server.setConf(`$conf['plugin']['remit']['account'] = '';`)
    expect(await refused(wiki)).toMatch(/another account/)
  })

  test('and no answer of another kind is taken for an empty wiki', async () => {
    await using wiki = await openWiki()
    const { server } = wiki
    server.setConf(`$conf['remote'] = 0;`)
    expect(await refused(wiki)).toMatch(/does not answer/)
    server.setConf(`$conf['useacl'] = 0;`)
    expect(await refused(wiki)).toMatch(/another account|let us in/)
    server.setConf(`$plugins['remit'] = 0;`)
    server.setAcl(['*\t@ALL\t1'])
    server.setConf(`$conf['authtype'] = 'authldap';`)
    await refused(wiki)
    server.setConf('')
    server.removePlugin('remit')
    expect(await refused(wiki)).toMatch(/Is the plugin there/)
  })

  test(
    'lists all pages or none: of a folder that it cannot read nothing counts as deleted',
    needsRootAndDokuwiki,
    async () => {
      await using server = await openWikiServer({ uid: 65_534 })
      const wiki = createWiki({ path: '', secret: server.secret, fetch: server.fetch })
      server.write('pages/hr/plan.txt', 'Plan.')
      server.write('pages/start.txt', 'Start.')
      expect((await wiki.pages()).map(({ id }) => id)).toEqual(['hr:plan', 'start'])
      // A page that it cannot read is there.
      chmodSync(join(server.folder, 'data/pages/start.txt'), 0o000)
      expect((await wiki.pages()).map(({ id, bytes }) => [id, bytes > 0])).toEqual([
        ['hr:plan', true],
        ['start', false],
      ])
      const options = { url: server.url, collection: 'wiki', prefix: 'wiki/', people, isPublic: false }
      const source = createDokuwikiSource(options, wiki)
      await source.directory()
      expect(await source.item('wiki/start')).toMatchObject({ problem: 'The wiki cannot read its file.' })
      for await (const { changes } of source.changes(undefined))
        expect(brokenOf(changes).map(({ name }) => name)).toContain('start')
      for (const mode of [0o000, 0o644, 0o311]) {
        chmodSync(join(server.folder, 'data/pages/hr'), mode)
        await expect(wiki.pages(), mode.toString(8)).rejects.toThrow('A folder of its pages cannot be read.')
      }
    },
  )

  test('refuses where another plugin decides who may read', async () => {
    await using wiki = await openWiki()
    wiki.server.addPlugin(
      'gate',
      'action.php',
      `<?php class action_plugin_gate extends DokuWiki_Action_Plugin {
         public function register(Doku_Event_Handler $c) { $c->register_hook('AUTH_ACL_CHECK', 'AFTER', $this, 'deny'); }
         public function deny($event) { $event->result = 0; }
       }`,
    )
    expect(await refused(wiki)).toMatch(/AUTH_ACL_CHECK/)
  })
})
