import {
  type Change,
  type ChangePage,
  CursorExpired,
  type Directory,
  type ItemChange,
  type LoadedItem,
  type Source,
  SourceUnavailable,
} from '@remit/connector'
import { z } from 'zod'
import { defineKind, type Opening, type SourceKind } from '../../src/sources/kind.ts'

/** A page of the wiki. */
export interface Page {
  readonly text: string
  /** `anne`, or `@team` for a group. */
  readonly readers: readonly string[]
  readonly revision: number
}

/** Where the double says that it is. */
export const wikiOrigin = 'file:///srv/wiki'
/** And where it may be moved to. */
export const movedOrigin = 'file:///srv/moved'

/** Who a reader is here, by the settings: somebody else, or nobody. Of whom is not in it: themselves. */
export type WikiPeople = Readonly<Record<string, string | null>>

/**
 * A wiki in memory that a test changes, and that can change between any two of its calls: a feed with a
 * cursor, pages with readers, groups.
 */
export class Wiki {
  readonly pages = new Map<string, Page>()
  /** `anne`, or `@team` for another group in it. */
  readonly groups = new Map<string, readonly string[]>()
  /** Who is denied the folder `folder`, by their subjects. Without any there is none. */
  denied: readonly string[] = []
  readonly calls: string[] = []
  /** What is no page: told as broken, with this reason. */
  readonly broken = new Map<string, string>()
  /** Before each of its calls: `changes`, `directory`, `text p`, `readers p`, `revision p`. */
  before: (call: string, signal?: AbortSignal) => void | Promise<void> = () => undefined
  /** Its credential does not count any more. */
  isClosed = false
  /** Its listing ends without the end mark. */
  isCutShort = false
  pageSize = 2
  #log: string[] = []
  #revision = 0
  #epoch = 1

  reset(): void {
    for (const kept of [this.pages, this.groups, this.broken]) kept.clear()
    this.denied = []
    this.calls.length = 0
    this.#log.length = 0
    this.before = () => undefined
    this.isClosed = false
    this.isCutShort = false
    this.pageSize = 2
  }

  put(
    name: string,
    { text, readers }: { readonly text?: string; readonly readers?: readonly string[] },
  ): void {
    const before = this.pages.get(name)
    this.#revision += 1
    this.pages.set(name, {
      text: text ?? before?.text ?? `All about ${name}.`,
      readers: readers ?? before?.readers ?? [],
      revision: this.#revision,
    })
    this.#log.push(name)
  }

  /** A change that the feed does not tell. */
  unshareSilently(name: string): void {
    const before = this.pages.get(name)
    this.#revision += 1
    if (before !== undefined) this.pages.set(name, { ...before, readers: [], revision: this.#revision })
  }

  remove(name: string): void {
    this.pages.delete(name)
    this.#log.push(name)
  }

  loseCursors(): void {
    this.#epoch += 1
  }

  source({ prefix, collections: [collection = ''] }: Opening, people: WikiPeople = {}): Source {
    const subjectOf = (reader: string): readonly string[] => {
      const person = people[reader]
      return person === null ? [] : [`user:${person ?? reader}`]
    }
    const call = async (name: string, signal?: AbortSignal): Promise<void> => {
      this.calls.push(name)
      await this.before(name, signal)
      if (this.isClosed) throw new SourceUnavailable('The wiki does not let us in (401).')
    }
    const accessOf = ({ readers }: Page) => ({
      viewers: readers.flatMap((reader) =>
        reader.startsWith('@') ? `group:${prefix}${reader.slice(1)}#member` : subjectOf(reader),
      ),
    })
    const changeOf = (name: string): Change => {
      const id = `${prefix}${name}`
      const problem = this.broken.get(name)
      if (problem !== undefined) return { kind: 'broken', id, name, problem }
      const page = this.pages.get(name)
      if (page === undefined) return { kind: 'deleted', id }
      const content = async (signal?: AbortSignal): Promise<LoadedItem> => {
        await call(`text ${name}`, signal)
        const text = this.pages.get(name)?.text ?? ''
        await call(`readers ${name}`)
        const now = this.pages.get(name) ?? page
        const access = accessOf(now)
        await call(`revision ${name}`)
        return {
          version: String(this.pages.get(name)?.revision ?? 'gone'),
          content: { collection, title: name, text },
          access,
        }
      }
      return {
        kind: 'item',
        id,
        name,
        version: String(page.revision),
        access: accessOf(page),
        content,
      } satisfies ItemChange
    }
    const changes = async function* (this: Wiki, cursor: string | undefined): AsyncGenerator<ChangePage> {
      await call('changes')
      const [epoch = '', from = '0', after] = (cursor ?? '').split(':')
      if (cursor !== undefined && epoch !== String(this.#epoch)) throw new CursorExpired('Too old.')
      // A reading of everything ends at what it began with: what changes meanwhile comes after it.
      const isCrawl = cursor === undefined || after !== undefined
      const end = isCrawl && after !== undefined ? Number(from) : this.#log.length
      const all = [...new Set([...this.pages.keys(), ...this.broken.keys()])].sort()
      const names = isCrawl
        ? all.filter((name) => after === undefined || name > decodeURIComponent(after))
        : [...new Set(this.#log.slice(Number(from)))]
      for (let offset = 0; offset === 0 || offset < names.length; offset += this.pageSize) {
        const isEnd = offset + this.pageSize >= names.length
        const page = names.slice(offset, offset + this.pageSize)
        yield {
          changes: page.map(changeOf),
          cursor: isEnd
            ? `${this.#epoch}:${end}`
            : isCrawl
              ? `${this.#epoch}:${end}:${encodeURIComponent(page.at(-1) ?? '')}`
              : `${this.#epoch}:${from}`,
          isLast: isEnd && !this.isCutShort,
        }
      }
    }
    const directory = async (): Promise<Directory> => {
      await call('directory')
      const accounts = [...new Set([...this.groups.values()].flat())]
      return {
        accounts: accounts.map((id) => {
          const [subject] = subjectOf(id)
          return { id, ...(subject !== undefined && { subject }) }
        }),
        groups: [...this.groups].map(([id, members]) => ({
          id: `${prefix}${id}`,
          members: members.map((member) =>
            member.startsWith('@') ? { group: `${prefix}${member.slice(1)}` } : { account: member },
          ),
        })),
        folders:
          this.denied.length === 0
            ? []
            : [{ id: `${prefix}folder`, collection, parents: [], viewers: ['user:*'], blocked: this.denied }],
      }
    }
    return {
      changes: (cursor) => changes.call(this, cursor),
      item: async (id) => {
        await call(`item ${id.slice(prefix.length)}`)
        return changeOf(id.slice(prefix.length))
      },
      directory,
    }
  }
}

/** The wiki as a kind; `untold`: which changes its feed does not tell. */
export const wikiKind = (wiki: Wiki, untold: readonly string[] = []): SourceKind =>
  defineKind({
    id: 'wiki',
    settings: z.strictObject({
      base: z.enum([wikiOrigin, movedOrigin]).default(wikiOrigin),
      people: z.record(z.string(), z.string().nullable()).default({}),
      /** False: it tells none, and no accounts. */
      groups: z.boolean().default(true),
    }),
    untold,
    originOf: ({ base }) => base,
    open({ people, groups: hasGroups }, opening) {
      const { directory, ...others } = wiki.source(opening, people)
      return hasGroups && directory !== undefined ? { ...others, directory } : others
    },
  })
