import { z } from 'zod'
import { defineKind, type SourceKind } from '../../kind.ts'
import { address, peopleOf, placeOf, subject, systemAt } from '../settings.ts'
import { createDokuwikiSource } from './dokuwiki-source.ts'
import { createWiki } from './wiki.ts'

const person = z.strictObject({
  /** As they sign in. */
  account: z.string().min(1).max(200),
  subject,
})

const settings = z.strictObject({
  /** Of the wiki: what stands before `/doku.php`. */
  url: address,
  /** Who the accounts of the wiki are. Whoever is not here is nobody. */
  people: peopleOf(person),
  /** What everybody may read there is everybody's here, too. Default: it is that of `people`. */
  public: z.boolean().default(false),
})

/**
 * The pages of a DokuWiki, filed in the source's first collection; everybody reads what its access control
 * list lets them read (docs/sources-dokuwiki.md). The wiki needs the plugin that is beside this file: its own
 * interface does not tell who is in which group, nor entries for `%USER%` and `%GROUP%`.
 */
export const dokuwikiKind: SourceKind = defineKind({
  id: 'dokuwiki',
  settings,
  // Each reading reads the whole list of permissions, and lists all pages.
  untold: [],
  credential: 'required',
  originOf: ({ url }) => new URL(url).origin,
  systemOf: ({ url }) => systemAt(url),
  open({ url, people, public: isPublic }, { prefix, collections: [collection = ''], fetch, secret = '' }) {
    const { origin, path } = placeOf(url)
    return createDokuwikiSource(
      { url: `${origin}${path}`, people, isPublic, collection, prefix },
      createWiki({ path, secret, fetch }),
    )
  },
})
