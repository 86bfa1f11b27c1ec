import {
  changesByListing,
  type Directory,
  everyoneGroup,
  itemByListing,
  type Source,
  type SourceAccount,
  SourceUnavailable,
  subjectsOfShare,
  type WideShare,
} from '@remit/connector'
import { z } from 'zod'
import { defineKind, type Opening, type SourceKind } from '../../../src/sources/kind.ts'

/** Where the double says that it is. */
export const intranetOrigin = 'file:///srv/intranet'

/** A page. */
export interface Page {
  /** Accounts by their ids, `@team` for a group, `*` for everybody. */
  readonly readers: readonly string[]
  readonly share?: WideShare
  /** An account for which it is open until then. */
  readonly until?: { readonly account: string; readonly expires_at: string }
  readonly denied?: readonly string[]
}

/** A system with accounts, groups and pages, which a test changes. */
export class Intranet {
  readonly accounts = new Map<string, Omit<SourceAccount, 'id' | 'subject'>>()
  readonly groups = new Map<string, readonly string[]>()
  readonly pages = new Map<string, Page>()
  /** People whom a folder names by their subjects; the page `in-folder` lies in it. */
  folder: readonly string[] = []
  /** Names as they come; more of one id are told twice. */
  readonly more: SourceAccount[] = []
  /** Before its directory is given. */
  before: () => void | Promise<void> = () => undefined
  isDown = false

  reset(): void {
    for (const kept of [this.accounts, this.groups, this.pages]) kept.clear()
    this.more.length = 0
    this.folder = []
    this.before = () => undefined
    this.isDown = false
  }

  source(
    { people }: Settings,
    { prefix, collections: [collection = ''], publicCollections = [] }: Opening,
  ): Source {
    const listing = async () => {
      if (this.isDown) throw new SourceUnavailable('The intranet is down.')
      return [...this.pages].map(([name, page]) => {
        const named = page.readers.map((reader) => {
          if (reader === '*') return 'user:*'
          return reader.startsWith('@') ? `group:${prefix}${reader.slice(1)}#member` : { account: reader }
        })
        const isPublicAllowed = publicCollections.includes(collection)
        const access = {
          ...(name === 'in-folder' && { parents: [`folder:${prefix}folder`] }),
          viewers: [
            ...named,
            ...(page.share === undefined ? [] : subjectsOfShare(page.share, { prefix, isPublicAllowed })),
            ...(page.until === undefined ? [] : [page.until]),
          ],
          blocked: (page.denied ?? []).map((account) => ({ account })),
        }
        return {
          kind: 'item' as const,
          id: `${prefix}${name}`,
          name,
          version: JSON.stringify(page),
          access,
          content: { collection, title: name, text: `The zeppelin of ${name}.` },
        }
      })
    }
    const directory = async (): Promise<Directory> => {
      await this.before()
      if (this.isDown) throw new SourceUnavailable('The intranet is down.')
      const named = new Map(people.map(({ account, subject }) => [account, subject]))
      const accounts = [
        ...[...this.accounts].map(([id, account]) => {
          const subject = named.get(id)
          return { id, ...account, ...(subject !== undefined && { subject }) }
        }),
        ...this.more,
      ]
      return {
        accounts,
        groups: [
          everyoneGroup(accounts, { prefix }),
          ...[...this.groups].map(([name, members]) => ({
            id: `${prefix}${name}`,
            members: members.map((account) => ({ account })),
          })),
        ],
        folders: [{ id: `${prefix}folder`, collection, parents: [], viewers: this.folder }],
      }
    }
    return {
      changes: (cursor, signal) => changesByListing(listing, cursor, signal),
      item: (id, signal) => itemByListing(listing, id, signal),
      directory,
    }
  }
}

interface Settings {
  readonly people: readonly { readonly account: string; readonly subject: string }[]
  readonly verified: boolean
}

export const intranetKind = (intranet: Intranet): SourceKind =>
  defineKind<Settings>({
    id: 'intranet',
    settings: z.strictObject({
      people: z.array(z.strictObject({ account: z.string(), subject: z.string() })).default([]),
      verified: z.boolean().default(true),
    }),
    untold: [],
    verifiesAddresses: ({ verified }) => verified,
    originOf: () => intranetOrigin,
    open: (settings, opening) => intranet.source(settings, opening),
  })
