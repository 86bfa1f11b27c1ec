import { isAbsolute } from 'node:path'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import { accessSchema } from '../../../ingest/wire.ts'
import { defineKind, type SourceKind } from '../../kind.ts'
import { createFolderSource } from './folder-source.ts'

const settings = z.strictObject({
  folder: z.string().max(1_000).refine(isAbsolute, 'must be an absolute path'),
  /** Who may read all of it. */
  access: accessSchema.transform(({ owner, viewers, parents, blocked, sensitive: isSensitive }) => ({
    ...(owner !== undefined && { owner }),
    ...(viewers !== undefined && { viewers }),
    ...(parents !== undefined && { parents }),
    ...(blocked !== undefined && { blocked }),
    ...(isSensitive !== undefined && { sensitive: isSensitive }),
  })),
  base_url: z
    .url({ protocol: /^https?$/ })
    .max(1_000)
    .optional(),
})

/**
 * The files of a folder on this machine, filed in the source's first collection, all of which the same
 * people may read, as its settings say. What the file system lets anybody read does not count.
 */
export const folderKind: SourceKind = defineKind({
  id: 'folder',
  settings,
  untold: [],
  originOf: ({ folder }) => pathToFileURL(folder).href,
  open: ({ folder, access, base_url: baseUrl }, { prefix, collections: [collection = ''], titleOf }) =>
    createFolderSource(
      { folder, collection, access, prefix, ...(baseUrl !== undefined && { baseUrl }) },
      { titleOf },
    ),
})
