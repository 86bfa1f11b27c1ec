/** A kind of source, whole: a system over HTTP whose pages have readers. See docs/write-a-source.md. */
import {
  changesByListing,
  type Directory,
  type ItemChange,
  itemByListing,
  SourceUnavailable,
} from '@remit/connector'
import { z } from 'zod'
import { defineKind } from '../../src/sources/kind.ts'

// What two administrators agree on. Strict: whatever else they name is refused.
const settings = z.strictObject({
  url: z.url({ protocol: /^https?$/ }),
  /** Who the accounts of the system are in Remit. Whoever is not here is nobody. */
  people: z.array(z.strictObject({ account: z.string(), subject: z.string().startsWith('user:') })),
})

// What the system answers. Of another shape it is no answer: an empty list of readers is another thing.
const page = z.object({ title: z.string(), revision: z.number(), readers: z.array(z.string()) })
const pages = z.array(page.extend({ id: z.string() }))
const pageWithText = page.extend({ text: z.string() })
const groups = z.record(z.string(), z.array(z.string()))
type Page = z.output<typeof page>

export const notesKind = defineKind({
  id: 'notes',
  settings,
  // Each reading lists everything with its readers, and all groups: no change is left out.
  untold: [],
  credential: 'required',
  originOf: ({ url }) => new URL(url).origin,
  open({ people }, { prefix, collections: [collection = ''], fetch, secret }) {
    /** The groups that the directory told. What lets anybody read is said in them. */
    let told = ''

    async function ask<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
      const { status, body } = await fetch(path, { headers: { authorization: `Bearer ${secret}` } })
      if (status === 404) return undefined
      // Not one page's own: the system as a whole does not answer. Nothing is hidden, and nothing confirmed.
      if (status !== 200) throw new SourceUnavailable(`The notes answer ${status}.`)
      // What is thrown here is the page's own, where one was asked for: it is hidden, and the others go on.
      return schema.parse(JSON.parse(Buffer.from(body).toString()))
    }

    async function directory(): Promise<Directory> {
      const found = await ask('/groups', groups)
      told = JSON.stringify(found)
      return {
        accounts: people.map(({ account, subject }) => ({ id: account, subject })),
        groups: Object.entries(found ?? {}).map(([name, members]) => ({
          id: `${prefix}${name}`,
          members: members.map((account) => ({ account })),
        })),
        folders: [],
      }
    }

    // Another one whenever the text, or who may read it, is another.
    const versionOf = ({ revision, readers }: Page) => JSON.stringify([revision, readers])
    // Never left out: `{}` is nobody. An account that is nobody in Remit gets nothing.
    const accessOf = ({ readers }: Page) => ({
      viewers: readers.map((reader) =>
        reader.startsWith('@') ? `group:${prefix}${reader.slice(1)}#member` : { account: reader },
      ),
    })

    /**
     * The text; then the groups, who may read it, and its revision: else a secret that is written after an
     * unshare could come in under the readers of before.
     */
    async function load(id: string) {
      const path = `/pages/${encodeURIComponent(id)}`
      const before = await ask(path, pageWithText)
      if (JSON.stringify(await ask('/groups', groups)) !== told)
        throw new SourceUnavailable('Groups changed while pages were read.')
      const after = await ask(path, pageWithText)
      // One that is gone, or was written anew, has another version than was told: it is asked for once more.
      if (before === undefined || after === undefined || versionOf(before) !== versionOf(after))
        return { version: '', content: { collection, title: id, text: '' }, access: {} }
      const { title, text } = before
      return { version: versionOf(after), content: { collection, title, text }, access: accessOf(after) }
    }

    async function list(): Promise<readonly ItemChange[]> {
      return ((await ask('/pages', pages)) ?? []).map(({ id, ...listed }) => ({
        kind: 'item',
        id: `${prefix}${id}`,
        name: id,
        version: versionOf(listed),
        access: accessOf(listed),
        content: () => load(id),
      }))
    }

    return {
      directory,
      changes: (cursor, signal) => changesByListing(list, cursor, signal),
      item: (id, signal) => itemByListing(list, id, signal),
    }
  },
})
