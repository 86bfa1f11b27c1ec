import {
  type Directory,
  depthMax,
  type SourceFolder,
  type SourceGroup,
  type SourceSubject,
} from '@remit/connector'
import { Acl, type Level, type UnclearEntry } from './acl.ts'
import { idOf } from './ids.ts'
import type { Person } from './people.ts'
import type { WikiPermissions } from './wiki.ts'

/** Where the folders of a wiki are named, and filed. */
export interface PlaceOptions {
  /** Put before each id. */
  readonly prefix: string
  readonly collection: string
  /** Whether what everybody may read there without signing in is everybody's in Remit, too. */
  readonly isPublic: boolean
}

/** The folders of a wiki, and where its pages lie. */
export interface WikiPlaces {
  readonly directory: Directory
  /** `folder:ID`; undefined of a page that was not among them. */
  parentOf(page: string): string | undefined
  /** Entries that hide what they could decide. */
  readonly unclear: readonly UnclearEntry[]
}

interface Place {
  readonly id: string
  /** Which of the accounts may read there, by the wiki's own rule. */
  readonly readers: readonly boolean[]
  /** How many folders it is from where the chain is cut, itself included. */
  readonly depth: number
}

// A source's prefix, and `only/`, come before it.
const nameLengthMax = 150
const empty: Level = { shared: new Map(), own: new Map(), isUnclear: false, unclear: new Set() }
// More entries for single accounts than that are one group.
const aloneMax = 50

/**
 * Who may read which pages, exactly as the wiki answers each account. Each namespace of a page is a folder,
 * and so is a page that has entries of its own. A level that only lets more people read lies in the one above
 * it. One that says something of everybody is cut off from above. What no list says is worked out, account by
 * account, in a group of its own. `people` are those of the permissions' accounts that are somebody.
 */
export function placesOf(
  pages: readonly string[],
  permissions: WikiPermissions,
  people: readonly Person[],
  options: PlaceOptions,
): WikiPlaces {
  const named = new Set(people.map(({ account }) => account))
  const accounts = permissions.accounts.filter(({ account }) => named.has(account))
  const acl = new Acl({ ...permissions, accounts })
  const builder = new Builder(acl, options)
  const parents = new Map(pages.map((page) => [page, `folder:${builder.placeOf(page).id}`]))
  return {
    directory: {
      accounts: people.map(({ account, subject }) => ({ id: account, subject })),
      groups: builder.groups(),
      folders: builder.folders(),
    },
    parentOf: (page) => parents.get(page),
    unclear: acl.unclear,
  }
}

class Builder {
  readonly #acl: Acl
  readonly #options: PlaceOptions
  readonly #groups = new Map<string, SourceGroup>()
  readonly #folders = new Map<string, SourceFolder>()
  readonly #namespaces = new Map<string, Place>()

  constructor(acl: Acl, options: PlaceOptions) {
    this.#acl = acl
    this.#options = options
  }

  groups(): readonly SourceGroup[] {
    return [...this.#groups.values()]
  }

  folders(): readonly SourceFolder[] {
    return [...this.#folders.values()]
  }

  placeOf(page: string): Place {
    const names = page.split(':').slice(0, -1)
    // PHP takes the text `0` for nothing: the check goes from such a page to the root.
    const above = this.#namespace(names.join(':') === '0' ? [] : names)
    const level = this.#acl.level(page)
    return level === undefined ? above : this.#place(idOf('page/', page, nameLengthMax), level, above)
  }

  #namespace(names: readonly string[]): Place {
    const name = names.join(':')
    const knownNamespace = this.#namespaces.get(name)
    if (knownNamespace !== undefined) return knownNamespace
    const isRoot = names.length === 0
    const above = isRoot ? undefined : this.#namespace(names.slice(0, -1))
    const level = this.#acl.level(isRoot ? '*' : `${name}:*`)
    const id = isRoot ? 'ns' : idOf('ns/', name, nameLengthMax)
    const isPlain = level === undefined && above !== undefined && above.depth < depthMax
    const place = isPlain ? this.#plain(id, above) : this.#place(id, level ?? empty, above)
    this.#namespaces.set(name, place)
    return place
  }

  /** Nothing is said of it by itself. */
  #plain(name: string, { id: aboveId, readers, depth }: Place): Place {
    const id = `${this.#options.prefix}${name}`
    const { collection } = this.#options
    this.#folders.set(id, { id, collection, parents: [`folder:${aboveId}`], viewers: [] })
    return { id, readers, depth: depth + 1 }
  }

  #place(name: string, level: Level, above: Place | undefined): Place {
    const readers = this.#acl.readers(level, above?.readers)
    const isCut = level.shared.has('@ALL') || above === undefined || above.depth >= depthMax
    const viewers = this.#viewers(level, isCut)
    const lets = (index: number): boolean =>
      viewers.some(({ holds }) => holds(index)) || (!isCut && above.readers[index] === true)
    const isExact = !hasLeftOver(level, isCut, above) && readers.every((may, index) => lets(index) === may)
    const id = `${this.#options.prefix}${name}`
    this.#folders.set(id, {
      id,
      collection: this.#options.collection,
      parents: isCut || !isExact ? [] : [`folder:${above.id}`],
      viewers: isExact
        ? viewers.flatMap(({ subjects }) => subjects())
        : [this.#group(`only/${name}`, (index) => readers[index] === true)],
    })
    return { id, readers, depth: isCut || !isExact ? 1 : above.depth + 1 }
  }

  /** Whom a level lets read by itself. Groups are made once they are asked for. */
  #viewers({ shared, own }: Level, isCut: boolean): readonly Viewer[] {
    const everyone: Viewer = {
      holds: () => true,
      subjects: () => [this.#group('everyone', () => true), ...(this.#options.isPublic ? ['user:*'] : [])],
    }
    if (shared.get('@ALL') === true) return [everyone]
    const names = [...shared].filter(([, may]) => may).map(([key]) => this.#named(key))
    const alone = [...own].filter(([, may]) => may).map(([index]) => this.#alone(index))
    const superusers = this.#acl.accounts.some(({ superuser }) => superuser)
    return [...names, ...alone, ...(isCut && superusers ? [this.#superusers()] : [])]
  }

  #named(key: string): Viewer {
    const holds = (index: number) => this.#acl.isNamed(index, key)
    if (key.startsWith('@'))
      return { holds, subjects: () => [this.#group(idOf('groups/', key.slice(1), nameLengthMax), holds)] }
    return {
      holds,
      subjects: () => this.#acl.accounts.flatMap(({ account }, index) => (holds(index) ? [{ account }] : [])),
    }
  }

  #alone(place: number): Viewer {
    const account = this.#acl.accounts[place]?.account ?? ''
    return { holds: (index) => index === place, subjects: () => [{ account }] }
  }

  #superusers(): Viewer {
    const holds = (index: number) => this.#acl.accounts[index]?.superuser === true
    return { holds, subjects: () => [this.#group('superusers', holds)] }
  }

  #group(name: string, holds: (index: number) => boolean): string {
    const id = `${this.#options.prefix}${name}`
    if (!this.#groups.has(id)) {
      const members = this.#acl.accounts.flatMap(({ account }, index) => (holds(index) ? [{ account }] : []))
      this.#groups.set(id, { id, members })
    }
    return `group:${id}#member`
  }
}

interface Viewer {
  readonly holds: (index: number) => boolean
  readonly subjects: () => readonly SourceSubject[]
}

/** Whether a level takes from somebody what the one above it lets them, or is too much for a list. */
const hasLeftOver = ({ shared, own, isUnclear }: Level, isCut: boolean, above: Place | undefined): boolean =>
  isUnclear ||
  own.size > aloneMax ||
  (!isCut && [...shared.values(), ...own.values()].includes(false)) ||
  // Too deep: nothing lies above that says who else may.
  (isCut && !shared.has('@ALL') && above !== undefined)
