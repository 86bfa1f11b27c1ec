import type { Random } from '../../../packages/engine/test/support/random.ts'
import type { Person } from '../../../src/sources/kinds/dokuwiki/people.ts'
import { openWikiServer, type WikiServer } from './server.ts'

/** A DokuWiki which a random driver changes as its users and administrators could. */
export interface WikiWorld extends AsyncDisposable {
  readonly server: WikiServer
  readonly people: readonly WikiPerson[]
  readonly settings: readonly Person[]
  pages(): readonly string[]
  /** What it did, in words. */
  change(random: Random): Promise<string>
  /** Another access control list, and other groups. */
  shuffle(random: Random): string
  /** The text → who of the people may read it, as the wiki answers each of them. */
  readers(): Promise<ReadonlyMap<string, ReadonlySet<string>>>
}

export interface WikiPerson {
  /** In Remit, `user:NAME`. */
  readonly name: string
  readonly account: string
  readonly groups: Set<string>
  isKnown: boolean
}

// Some that are encoded in the list, two that PHP takes for one number, and none that is none of these.
const accounts = ['anne', 'bob_b', 'c.d', '7', '007', 'жан', 'hr', 'eve']
const groups = ['hr', 'board members', 'g.2', 'staff']
const namespaces = ['', 'hr', 'hr:plans', 'hr:plans:old', 'home', 'anne', 'staff', 'жан', '0', '0:hr']

/** As the wiki's own `auth_nameencode`. */
export const encoded = (name: string): string =>
  name.replace(
    /[\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]/g,
    (character) => `%${character.charCodeAt(0).toString(16)}`,
  )

export async function openWikiWorld(size: { readonly pages: number }, random: Random): Promise<WikiWorld> {
  const server = await openWikiServer()
  const people: readonly WikiPerson[] = accounts.map((account, index) => ({
    name: `p${index}`,
    account,
    groups: new Set(random.sample(groups, 0.35)),
    isKnown: random.chance(0.9),
  }))
  const texts = new Map<string, string>()
  let lines: readonly string[] = []
  let superusers = '@admin'
  let written = 0

  const saveUsers = () =>
    server.setUsers(
      people
        .filter(({ isKnown }) => isKnown)
        .map(({ account, groups: mine }) => ({ name: account, groups: [...mine] })),
    )
  const saveLines = (now: readonly string[]) => {
    lines = now
    server.setAcl(lines)
  }
  const nameOf = (namespace: string, name: string) => (namespace === '' ? name : `${namespace}:${name}`)
  const scopeOf = (chooser: Random): string => {
    const pages = [...texts.keys()]
    if (pages.length > 0 && chooser.chance(0.3)) return chooser.pick(pages)
    if (chooser.chance(0.2))
      return chooser.pick(['%USER%:*', '%GROUP%:*', 'home:%USER%', 'hr:plans:%GROUP%', 'hr:%USER%:*'])
    return nameOf(chooser.pick(namespaces), '*')
  }
  const whomOf = (chooser: Random): string =>
    chooser.pick([
      '@ALL',
      '@ALL',
      '@ALL',
      '%USER%',
      '%GROUP%',
      '@nobody',
      ...groups.map((group) => `@${encoded(group.replace(' ', '_'))}`),
      ...groups.map((group) => `@${encoded(group.replace(' ', '_'))}`),
      ...accounts.map(encoded),
    ])
  const lineOf = (chooser: Random): string =>
    `${scopeOf(chooser)}${chooser.pick(['\t', ' ', '  \t'])}${whomOf(chooser)}\t${chooser.pick([0, 0, 1, 1, 2, 8, 16])}${chooser.pick(['', '', ' # why'])}`

  async function put(page: string): Promise<string> {
    written += 1
    const text = `text${written}`
    await server.put(page, text)
    texts.set(page, text)
    return `put ${page} ${text}`
  }
  async function create(chooser: Random): Promise<string> {
    // Names that were used before, too.
    return put(
      nameOf(chooser.pick(namespaces), chooser.pick(['start', 'plan', 'a_b', 'hr', 'жан', 'sidebar'])),
    )
  }
  async function remove(page: string): Promise<string> {
    await server.put(page, '')
    texts.delete(page)
    return `remove ${page}`
  }
  function grant(chooser: Random): string {
    const line = lineOf(chooser)
    saveLines([...lines, line])
    return `add ${line}`
  }
  function revoke(chooser: Random): string {
    const line = chooser.pick(lines)
    saveLines(lines.filter((other) => other !== line))
    return `delete ${line}`
  }
  /** Of the same scope and whom another permission. */
  function alter(chooser: Random): string {
    const line = chooser.pick(lines)
    const altered = line.replace(/\t\d+/, `\t${chooser.pick([0, 1, 16])}`)
    saveLines(lines.map((other) => (other === line ? altered : other)))
    return `alter ${altered}`
  }
  function join(chooser: Random): string {
    const person = chooser.pick(people)
    const group = chooser.pick(groups)
    if (!person.groups.delete(group)) person.groups.add(group)
    saveUsers()
    return `groups of ${person.account}: ${[...person.groups]}`
  }
  function know(chooser: Random): string {
    const person = chooser.pick(people)
    person.isKnown = !person.isKnown
    saveUsers()
    return `${person.isKnown ? 'add' : 'delete'} the user ${person.account}`
  }
  function crown(chooser: Random): string {
    superusers = chooser.pick(['@admin', '@admin', '@admin,eve', '@admin,@g.2'])
    server.setConf(`$conf['superuser'] = '${superusers}';`)
    return `superusers ${superusers}`
  }

  const acts: readonly (readonly [number, (chooser: Random) => string | Promise<string>])[] = [
    [4, create],
    [3, (chooser) => put(chooser.pick([...texts.keys()]))],
    [2, (chooser) => remove(chooser.pick([...texts.keys()]))],
    [7, grant],
    [5, revoke],
    [4, alter],
    [5, join],
    [1, know],
    [1, crown],
  ]
  const shuffle = (chooser: Random): string => {
    saveLines(Array.from({ length: 3 + chooser.below(14) }, () => lineOf(chooser)))
    for (const person of people) {
      person.groups.clear()
      for (const group of chooser.sample(groups, 0.35)) person.groups.add(group)
      person.isKnown = chooser.chance(0.9)
    }
    saveUsers()
    return [crown(chooser), ...lines].join('\n')
  }

  saveUsers()
  for (let index = 0; index < size.pages; index += 1) await create(random)
  saveLines(['*\t@ALL\t0', '*\t@staff\t1', ...Array.from({ length: 8 }, () => lineOf(random))])

  return {
    server,
    people,
    settings: people.map(({ account, name }) => ({ account, subject: `user:${name}` })),
    pages: () => [...texts.keys()],
    shuffle,
    async change(chooser) {
      if (texts.size < 4) return create(chooser)
      if (lines.length < 3) return grant(chooser)
      const total = acts.reduce((sum, [weight]) => sum + weight, 0)
      let left = chooser.below(total)
      for (const [weight, act] of acts) {
        left -= weight
        if (left < 0) return act(chooser)
      }
      return 'nothing'
    },
    async readers() {
      const found = new Map([...texts.values()].map((text) => [text, new Set<string>()]))
      for (const { name, account, isKnown } of people) {
        if (!isKnown) continue
        const readable = await server.readable(account)
        for (const [page, text] of texts) if (readable.has(page)) found.get(text)?.add(name)
      }
      return found
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}
