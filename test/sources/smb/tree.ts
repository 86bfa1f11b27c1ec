import type { Random } from '../../../packages/engine/test/support/random.ts'
import type { Person } from '../../../src/sources/kinds/smb/server.ts'
import type { createSmbSource } from '../../../src/sources/kinds/smb/smb-source.ts'
import { openSamba, openSource, type Samba } from './samba.ts'

/** A share on a server of its own, with its accounts, which a random driver changes. */
export interface ShareWorld extends AsyncDisposable {
  readonly samba: Samba
  readonly people: readonly string[]
  readonly settings: readonly Person[]
  /** Files by path. The text of each is another one. */
  files(): readonly string[]
  textAt(path: string): string
  open(): ReturnType<typeof createSmbSource>
  /** Does something that somebody at the server could do. What it did, in words. */
  change(random: Random): Promise<string>
  /**
   * The text → who of the people may read it now, asked for all of them, by the client of an administrator or
   * by a smbclient of each; or only for what a change since the last time was about.
   */
  readers(ask?: 'all' | 'smbclient' | 'changed'): Promise<ReadonlyMap<string, ReadonlySet<string>>>
}

export interface ShareSize {
  readonly people: number
  readonly groups: number
  readonly files: number
}

export const subjectOf = (name: string): string => `user:${name}`

const read = '0x120089'
const masks = [
  ...[read, read, read, read, '0x1f01ff', '0x1200a9', '0x80000000', '0x10000000'],
  // In pieces, of which none is enough.
  ...['0x1', '0x120088', '0x100089', '0x20000', '0x120116', '0x20'],
]
const denials = ['0x1', '0x1f01ff', read, '0x8', '0x20000', '0x100000', '0x120116', '0x80000000']
// Local groups: of the server's own domain, and of Builtin, which is asked later and may hold the others.
const aliases = ['l0', 'l1']
const builtin = 'power'
// OI, CI, NP and ID say where an entry comes from, or goes to: only IO keeps it from counting.
const flags = ['', '', '', 'ID', 'OICI', 'OICINP', 'IO', 'OICIIO']

export async function openShareWorld(size: ShareSize, random: Random): Promise<ShareWorld> {
  const people = Array.from({ length: size.people }, (_, index) => `p${index}`)
  const groups = Array.from({ length: size.groups }, (_, index) => `g${index}`)
  const valid = random.chance(0.4) ? random.sample(people, 0.8) : undefined
  const invalid = random.chance(0.4) ? random.sample([...people, ...groups], 0.3) : []
  const lines = [
    ...(valid === undefined ? [] : [`valid users = ${['root', ...valid].join(' ')}`]),
    `invalid users = ${invalid.map((name) => (groups.includes(name) ? `+${name}` : name)).join(' ')}`,
  ]
  const samba = await openSamba({ accounts: people, groups, aliases, lines })
  const { admin, domain, sidOf } = samba
  const settings = people.map((name) => ({ account: sidOf(name), subject: subjectOf(name) }))
  const members = new Map([...groups, 'unix'].map((name) => [name, new Set(random.sample(people, 0.4))]))
  // A Unix group without a SID of the server's: who is in it is not told, and stands in the settings.
  const stated = [{ sid: sidOf('unix'), members: [...(members.get('unix') ?? [])].map(sidOf) }]
  const inAliases = new Map([...aliases, builtin].map((name) => [name, new Set(random.sample(people, 0.3))]))
  const disabled = new Set<string>()
  const texts = new Map<string, string>()
  const folders = new Set([''])
  const answers = new Map(people.map((name) => [name, new Map<string, string | undefined>()]))
  const changed = { people: new Set(people), paths: new Set<string>() }
  let written = 0
  let named = 0

  const files = () => [...texts.keys()].sort()
  const setGroups = () => samba.setGroups(new Map([...members].map(([name, set]) => [name, [...set]])))
  setGroups()
  const setAliases = () =>
    samba.setAliases(new Map([...inAliases].map(([name, set]) => [name, [...set].map(sidOf)])))
  for (const name of [...groups, ...aliases]) if (random.chance(0.4)) inAliases.get(builtin)?.add(name)
  await setAliases()

  const newPath = (folder: string, ending: string): string => {
    named += 1
    return `${folder === '' ? '' : `${folder}/`}${random.pick(['plan', 'no tes', 'übung', 'x;y', "o'n"])}${named}${ending}`
  }

  async function put(path: string): Promise<string> {
    written += 1
    const text = `text-${written}`
    await admin.write(path, text)
    texts.set(path, text)
    changed.paths.add(path)
    return `write ${path} ${text}`
  }

  const someSid = (): string =>
    random.chance(0.45)
      ? sidOf(random.pick(people))
      : random.chance(0.75)
        ? sidOf(random.pick([...groups, ...aliases, builtin]))
        : random.pick([
            'WD',
            'WD',
            'AU',
            'NU',
            'S-1-3-4',
            'CO',
            'PS',
            'BU',
            'BA',
            `${domain}-513`,
            sidOf('unix'),
          ])

  function entry(): string {
    const isDenial = random.chance(0.35)
    const type = isDenial ? 'D' : 'A'
    return `(${type};${random.pick(flags)};${random.pick(type === 'D' ? denials : masks)};;;${someSid()})`
  }

  async function rights(path: string, sddl: string): Promise<void> {
    await admin.rights(path, sddl)
    changed.paths.add(path)
  }

  async function signInAnew(...names: readonly string[]): Promise<void> {
    await admin.forget('docs', names)
    for (const name of names) changed.people.add(name)
  }

  async function allow(path: string): Promise<string> {
    const entries = Array.from({ length: random.below(5) }, entry)
    // As Windows writes them, and as nobody should.
    if (random.chance(0.4)) entries.sort((a, b) => Number(b.startsWith('(D')) - Number(a.startsWith('(D')))
    const owner = random.chance(0.7) ? sidOf(random.pick(people)) : sidOf(random.pick(groups))
    const dacl = random.chance(0.04) ? 'NONE' : `${random.chance(0.5) ? 'P' : ''}${entries.join('')}`
    await rights(path, `O:${owner}G:${domain}-513D:${dacl}`)
    return `rights ${path} ${owner} ${dacl}`
  }

  /** What comes from above goes to all below, behind what each says itself, as Windows' own tools do it. */
  async function inherit(folder: string): Promise<string> {
    const inherited = Array.from({ length: 1 + random.below(3) }, entry).map((one) =>
      one.replace(/^\((.);[A-Z]*;/, '($1;ID;'),
    )
    const below = files().filter((path) => path.startsWith(folder === '' ? '' : `${folder}/`))
    for (const path of below) {
      const own = random.chance(0.5) ? [entry()] : []
      await rights(
        path,
        `O:${sidOf(random.pick(people))}G:${domain}-513D:AI${[...own, ...inherited].join('')}`,
      )
    }
    return `inherit ${folder} ${inherited}`
  }

  async function create(): Promise<string> {
    if (texts.size >= size.files) return put(random.pick(files()))
    const path = newPath(random.pick([...folders]), '.md')
    const done = await put(path)
    return `${done}, ${random.chance(0.9) ? await allow(path) : 'as it comes'}`
  }

  async function makeFolder(): Promise<string> {
    if (folders.size >= size.files / 3) return 'nothing'
    const path = newPath(random.pick([...folders]), '')
    await admin.mkdir(path)
    folders.add(path)
    return `mkdir ${path}, ${await allow(path)}`
  }

  async function move(): Promise<string> {
    const from = random.pick([...files(), ...folders].filter((path) => path !== ''))
    const to = newPath(random.pick([...folders]), texts.has(from) ? '.md' : '')
    if (`${to}/`.startsWith(`${from}/`)) return 'nothing'
    await admin.rename(from, to)
    const moved = (path: string) =>
      path === from || path.startsWith(`${from}/`) ? to + path.slice(from.length) : path
    for (const [path, text] of [...texts]) {
      texts.delete(path)
      texts.set(moved(path), text)
      if (moved(path) !== path) changed.paths.add(moved(path))
    }
    for (const path of [...folders]) {
      folders.delete(path)
      folders.add(moved(path))
    }
    return `mv ${from} ${to}`
  }

  /** Another file under the name of one that was there. */
  async function replace(path: string): Promise<string> {
    await admin.rm(path)
    return `replace ${path}: ${await put(path)}, ${await allow(path)}`
  }

  async function remove(path: string): Promise<string> {
    if (texts.size < size.files / 2) return 'nothing'
    await admin.rm(path)
    texts.delete(path)
    return `rm ${path}`
  }

  async function changeGroups(person: string): Promise<string> {
    const [name, set] = random.pick([...members].filter(([group]) => group !== 'unix'))
    if (!set.delete(person)) set.add(person)
    setGroups()
    await signInAnew(person)
    return `groups ${name} ${[...set]}`
  }

  async function changeAliases(person: string): Promise<string> {
    const [name, set] = random.pick([...inAliases])
    const member = random.chance(0.6)
      ? person
      : random.pick([...groups, 'unix', ...(name === builtin ? aliases : [])])
    if (!set.delete(member)) set.add(member)
    await setAliases()
    await signInAnew(...(people.includes(member) ? [member] : people))
    return `alias ${name} ${[...set]}`
  }

  async function changeDisabled(person: string): Promise<string> {
    if (!disabled.delete(person)) disabled.add(person)
    await samba.setDisabled(person, disabled.has(person))
    await signInAnew(person)
    return `${disabled.has(person) ? 'disable' : 'enable'} ${person}`
  }

  async function changeShare(): Promise<string> {
    const sids = random.chance(0.4) ? ['S-1-1-0'] : random.sample([...people, ...groups], 0.5).map(sidOf)
    // Denied to Everyone it is denied to Remit, who then reads nothing at all.
    const isDenied = (sid: string) => random.chance(0.2) && sid !== 'S-1-1-0'
    const entries = sids.map((sid) => `${sid}:${isDenied(sid) ? 'DENIED' : 'ALLOWED'}/0x0/READ`)
    samba.setShare([`${sidOf('root')}:ALLOWED/0x0/FULL`, ...entries])
    await signInAnew(...people)
    return `share ${entries}`
  }

  const acts: readonly (readonly [number, () => Promise<string>])[] = [
    [3, create],
    [1, makeFolder],
    [10, () => allow(random.pick(files()))],
    [1, () => allow(random.pick([...folders]))],
    [2, () => inherit(random.pick([...folders]))],
    [3, move],
    [2, () => put(random.pick(files()))],
    [2, () => replace(random.pick(files()))],
    [1, () => remove(random.pick(files()))],
    [4, () => changeGroups(random.pick(people))],
    [4, () => changeAliases(random.pick(people))],
    [1, () => changeDisabled(random.pick(people))],
    [1, changeShare],
  ]

  for (let index = 0; index < size.files / 6; index += 1) await makeFolder()
  for (let index = 0; index < (size.files * 2) / 3; index += 1) await create()
  await makeHard()

  /** What chance rarely makes. */
  async function makeHard(): Promise<void> {
    const [first = '', second = ''] = people
    const base = `O:${sidOf(first)}G:${domain}-513D:`
    for (const dacl of [
      // An explicit allow over an inherited deny.
      `AI(A;;${read};;;${sidOf(first)})(D;ID;0x1;;;WD)`,
      `P(D;;0x1;;;${sidOf(second)})(A;;${read};;;WD)`,
      `P(A;;0x1;;;S-1-3-4)(A;;0x100089;;;${sidOf(first)})`,
      `P(A;;0x100089;;;${sidOf(first)})(A;;0x100089;;;${sidOf(second)})`,
      'NONE',
    ]) {
      const path = newPath('', '.md')
      await put(path)
      await rights(path, base + dacl)
    }
  }

  const open = () =>
    openSource(samba, {
      people: settings,
      groups: stated,
      ...(valid !== undefined && { validUsers: valid.map(sidOf) }),
      invalidUsers: invalid.map(sidOf),
    })

  return {
    samba,
    people,
    settings,
    files,
    textAt: (path) => texts.get(path) ?? '',
    open,
    async change(random_) {
      if (texts.size === 0) return create()
      let left = random_.below(acts.reduce((sum, [weight]) => sum + weight, 0))
      for (const [weight, act] of acts) {
        left -= weight
        if (left < 0) return act()
      }
      return 'nothing'
    },
    async readers(ask = 'all') {
      const paths = files()
      const asked = new Map(
        people.map((name) => [
          name,
          paths.filter((path) => ask !== 'changed' || changed.people.has(name) || changed.paths.has(path)),
        ]),
      )
      const got =
        ask === 'smbclient'
          ? people.map((name) => samba.getAs(name, paths))
          : await admin.reads('docs', asked)
      for (const [place, [name, asking]] of [...asked].entries())
        for (const [index, path] of asking.entries())
          answers.get(name)?.set(path, got[place]?.[index] ?? undefined)
      for (const list of Object.values(changed)) list.clear()
      const found = new Map<string, Set<string>>(paths.map((path) => [texts.get(path) ?? '', new Set()]))
      for (const [name, readable] of answers)
        for (const path of paths) {
          const text = readable.get(path)
          if (text === undefined) continue
          if (text !== texts.get(path)) throw new Error(`${path} holds ${text}.`)
          found.get(text)?.add(name)
        }
      return found
    },
    [Symbol.asyncDispose]: () => samba[Symbol.asyncDispose](),
  }
}
