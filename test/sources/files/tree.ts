import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Random } from '../../../packages/engine/test/support/random.ts'
import type { FoundAccount, Person, ReadAccounts } from '../../../src/sources/kinds/files/accounts.ts'
import type { Kernel } from './kernel.ts'

export interface TreePerson {
  readonly name: string
  readonly uid: number
  readonly gid: number
  readonly gids: Set<number>
  /** Whether the machine knows the account: without it, the person is nobody in Remit. */
  isKnown: boolean
}

/** A tree on disk and the accounts of its machine, which a random driver changes. */
export interface TreeWorld extends AsyncDisposable {
  readonly root: string
  readonly people: readonly TreePerson[]
  readonly settings: readonly Person[]
  readonly readAccounts: ReadAccounts
  /** Files by path. The text of each is another one, but where it is the same file. */
  files(): readonly string[]
  textAt(path: string): string
  directories(): readonly string[]
  /** Does something that somebody on the machine could do. What it did, in words. */
  change(random: Random): string
  /** The text → who of the people may read it now. */
  readers(kernel: Kernel): Promise<ReadonlyMap<string, ReadonlySet<string>>>
}

// Of nobody on this machine.
const firstUid = 70_001
const firstGid = 80_001

export interface TreeSize {
  readonly people: number
  readonly groups: number
  readonly files: number
}

export const subjectOf = (person: Pick<TreePerson, 'name'>): string => `user:${person.name}`

export function openTree(size: TreeSize, random: Random): TreeWorld {
  const root = mkdtempSync(join(tmpdir(), 'remit-files-'))
  const gids = Array.from({ length: size.groups }, (_, index) => firstGid + index)
  const people: readonly TreePerson[] = Array.from({ length: size.people }, (_, index) => ({
    name: `p${index}`,
    uid: firstUid + index,
    gid: random.pick(gids),
    gids: new Set(random.sample(gids, 0.3)),
    isKnown: random.chance(0.85),
  }))
  const uids = people.map(({ uid }) => uid)
  let written = 0
  const texts = new Map<string, string>()
  const inodeOf = (path: string): string => {
    const { ino, birthtimeNs } = lstatSync(path, { bigint: true })
    return `${ino}-${birthtimeNs}`
  }

  const list = (isDirectory: boolean): readonly string[] =>
    readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => (isDirectory ? entry.isDirectory() : entry.isFile()))
      .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
      .sort()
  const files = () => list(false)
  const directories = () => ['', ...list(true)]
  const newName = (): string => {
    written += 1
    return `n${written}`
  }
  const put = (path: string): string => {
    written += 1
    const text = `text${written}`
    writeFileSync(join(root, path), text)
    texts.set(inodeOf(join(root, path)), text)
    return `put ${path}`
  }
  const furnish = (path: string): void => {
    chownSync(join(root, path), random.pick([0, ...uids]), random.pick([0, ...gids]))
    allow(path)
  }
  const bits = () => random.pick(['---', 'r--', 'r-x', '--x', 'rwx', 'rw-', 'r-x', 'rwx', 'rwx'])

  /** A mode that is usual, any mode, or entries for some people and groups. */
  function allow(path: string): string {
    const full = join(root, path)
    const isDirectory = lstatSync(full).isDirectory()
    if (random.chance(0.6)) {
      const usual = isDirectory
        ? [0o755, 0o755, 0o755, 0o750, 0o711, 0o700]
        : [0o644, 0o644, 0o640, 0o600, 0o604]
      const mode = random.chance(0.8) ? random.pick(usual) : random.below(0o1000)
      chmodSync(full, mode)
      return `chmod ${mode.toString(8)} ${path}`
    }
    const entries = [
      ...random.sample(people, 0.25).map(({ uid }) => `u:${uid}:${bits()}`),
      ...random.sample(gids, 0.35).map((gid) => `g:${gid}:${bits()}`),
      ...(random.chance(0.4) ? [`m::${bits()}`] : []),
      `o::${random.pick(['---', 'r--', 'r-x', 'r-x', '--x'])}`,
    ]
    const options = isDirectory && random.chance(0.3) ? ['-d'] : random.chance(0.3) ? ['-b'] : []
    execFileSync('setfacl', [...options, '-m', entries.join(','), full])
    return `setfacl ${options} ${entries} ${path}`
  }

  function move(): string {
    const from = random.pick([...files(), ...directories().slice(1)])
    const to = join(
      random.pick(directories()),
      random.chance(0.5) ? newName() + (isFile(from) ? '.md' : '') : (from.split('/').at(-1) ?? ''),
    )
    if (`${to}/`.startsWith(`${from}/`)) return 'nothing'
    try {
      renameSync(join(root, from), join(root, to))
    } catch {
      return 'nothing'
    }
    return `mv ${from} ${to}`
  }
  const isFile = (path: string): boolean => lstatSync(join(root, path)).isFile()

  const acts: readonly (readonly [number, () => string])[] = [
    [3, () => create()],
    [1, () => makeDirectory()],
    [8, () => allow(random.pick([...files(), ...directories()]))],
    [4, () => allow(random.pick(directories()))],
    [2, () => chown(random.pick([...files(), ...directories()]))],
    [4, () => move()],
    [2, () => put(random.pick(files()))],
    [2, () => replace(random.pick(files()))],
    [1, () => remove(random.pick([...files(), ...directories().slice(1)]))],
    [1, () => link(random.pick(files()))],
    [4, () => changeGroups(random.pick(people))],
    [1, () => changeKnown(random.pick(people))],
    [1, () => symlink()],
  ]

  function create(): string {
    if (files().length >= size.files) return put(random.pick(files()))
    const path = join(random.pick(directories()), `${newName()}.md`)
    put(path)
    furnish(path)
    return `create ${path}`
  }
  function makeDirectory(): string {
    if (directories().length >= size.files / 3) return 'nothing'
    const path = join(random.pick(directories()), newName())
    mkdirSync(join(root, path))
    furnish(path)
    return `mkdir ${path}`
  }
  function chown(path: string): string {
    const [uid, gid] = [random.pick([0, ...uids]), random.pick([0, ...gids])]
    chownSync(join(root, path), uid, gid)
    return `chown ${uid}:${gid} ${path}`
  }
  /** Another file under the name of one that was there. */
  function replace(path: string): string {
    if (random.chance(0.5)) rmSync(join(root, path))
    put(random.chance(0.5) ? path : `${path}.new`)
    const from = lstatSync(join(root, `${path}.new`), { throwIfNoEntry: false })
    if (from !== undefined) renameSync(join(root, `${path}.new`), join(root, path))
    furnish(path)
    return `replace ${path}`
  }
  function remove(path: string): string {
    if (files().length < size.files / 2 && !isFile(path)) return 'nothing'
    rmSync(join(root, path), { recursive: true })
    return `rm ${path}`
  }
  function link(path: string): string {
    if (files().length >= size.files) return 'nothing'
    const to = join(random.pick(directories()), `${newName()}.md`)
    linkSync(join(root, path), join(root, to))
    return `ln ${path} ${to}`
  }
  function symlink(): string {
    const to = join(random.pick(directories()), `${newName()}.md`)
    symlinkSync(
      random.pick(['/etc/passwd', ...[...files(), ...directories()].map((path) => join(root, path))]),
      join(root, to),
    )
    return `ln -s ${to}`
  }
  function changeGroups(person: TreePerson): string {
    const gid = random.pick(gids)
    if (!person.gids.delete(gid)) person.gids.add(gid)
    return `groups ${person.name} ${[...person.gids]}`
  }
  function changeKnown(person: TreePerson): string {
    person.isKnown = !person.isKnown
    return `${person.isKnown ? 'useradd' : 'userdel'} ${person.name}`
  }

  chmodSync(root, 0o755)
  for (let index = 0; index < size.files / 5; index += 1) makeDirectory()
  for (let index = 0; index < (size.files * 2) / 3; index += 1) create()

  makeHard()

  /**
   * What chance rarely makes: five folders with rules of their own above a file, and entries that contradict
   * each other.
   */
  function makeHard(): void {
    let path = 'deep'
    for (const { uid } of people.slice(0, 5)) {
      mkdirSync(join(root, path))
      execFileSync('setfacl', ['-m', `u:${uid}:---`, join(root, path)])
      path = join(path, newName())
    }
    const file = `${path}.md`
    put(file)
    const [first = 0, second = 0] = gids
    for (const { gids: mine } of people.slice(-2)) for (const gid of [first, second]) mine.add(gid)
    execFileSync('setfacl', ['-m', `g:${first}:r--,g:${second}:---,o::r--`, join(root, file)])
    // Named and masked to nothing: Linux asks `other`.
    put('masked.md')
    execFileSync('setfacl', ['-m', `u:${people[0]?.uid}:---,m::---,o::r--`, join(root, 'masked.md')])
  }

  const textAt = (path: string): string => texts.get(inodeOf(join(root, path))) ?? ''

  return {
    root,
    people,
    textAt,
    settings: people.map((person) => ({ name: person.name, uid: person.uid, subject: subjectOf(person) })),
    readAccounts: async (names) =>
      people
        .filter(({ name, isKnown }) => isKnown && names.includes(name))
        .map(({ name, uid, gid, gids }): FoundAccount => ({ name, uid, gids: new Set([gid, ...gids]) })),
    files,
    directories,
    change: (random_) => {
      const total = acts.reduce((sum, [weight]) => sum + weight, 0)
      let left = random_.below(total)
      if (files().length === 0) return create()
      for (const [weight, act] of acts) {
        left -= weight
        if (left < 0) return act()
      }
      return 'nothing'
    },
    async readers(kernel) {
      const paths = files()
      const known = people.filter(({ isKnown }) => isKnown)
      const answers = await kernel.ask({
        root,
        askers: known.map(({ uid, gid, gids }) => ({ uid, gid, gids: [...gids] })),
        paths,
      })
      const found = new Map<string, Set<string>>()
      for (const [index, path] of paths.entries()) {
        const text = textAt(path)
        const readers = found.get(text) ?? new Set()
        for (const [place, { name }] of known.entries())
          if (answers[place]?.[index] === true) readers.add(name)
        found.set(text, readers)
      }
      return found
    },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  }
}
