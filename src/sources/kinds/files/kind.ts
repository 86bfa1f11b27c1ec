import { isAbsolute } from 'node:path'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import { defineKind, type SourceKind } from '../../kind.ts'
import { peopleOf, subject } from '../settings.ts'
import { readNameService } from './accounts.ts'
import { createFilesSource } from './files-source.ts'

const person = z.strictObject({
  /** As `getent passwd` takes it. */
  name: z.string().regex(/^[^\s:,/-][^\s:,/]{0,255}$/u, 'must be the name of an account'),
  uid: z.int().min(1).max(0xffff_fffe),
  subject,
})

const settings = z.strictObject({
  /** Whoever is in `people` can reach it: what stands above it is not looked at. */
  root: z.string().max(1_000).refine(isAbsolute, 'must be an absolute path'),
  /** Who the accounts of this machine are. Whoever is not here is nobody. */
  people: peopleOf(person),
  base_url: z
    .url({ protocol: /^https?$/ })
    .max(1_000)
    .optional(),
})

/**
 * The files of a tree on this machine, filed in the source's first collection; everybody reads what the file
 * system lets them read: POSIX permissions and ACLs, from the root of the tree down (docs/sources-files.md).
 */
export const filesKind: SourceKind = defineKind({
  id: 'files',
  settings,
  // Each reading lists all of it.
  untold: [],
  originOf: ({ root }) => pathToFileURL(root).href,
  open: ({ root, people, base_url: baseUrl }, { prefix, collections: [collection = ''], titleOf, before }) =>
    createFilesSource(
      { root, people, collection, prefix, before, ...(baseUrl !== undefined && { baseUrl }) },
      { titleOf, readAccounts: readNameService, now: Date.now },
    ),
})
