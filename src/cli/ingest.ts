import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, extname, join, relative, sep } from 'node:path'
import { counted } from '../kernel/counted.ts'
import { isId } from '../kernel/ids.ts'
import { type RemitHttp, refusalOf, type Told } from './remit-http.ts'
import type { Terminal } from './terminal.ts'

export interface IngestOptions {
  readonly folder: string
  readonly collection: string
  readonly owner?: string
  readonly viewers: readonly string[]
  readonly parents: readonly string[]
  /** Put before each file's path to make its id. */
  readonly prefix: string
}

export interface IngestDeps {
  readonly http: RemitHttp
  readonly terminal: Terminal
}

const types: Readonly<Record<string, string>> = {
  '.md': 'text/markdown',
  '.markdown': 'text/markdown',
  '.txt': 'text/plain',
  '.html': 'text/html',
  '.htm': 'text/html',
  '.json': 'application/json',
  '.pdf': 'application/pdf',
  '.docx': 'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
}

const atOnce = 4

/**
 * Puts every readable file of a folder into a collection and waits until each is in. A file whose name makes no
 * valid id is reported and left out; nothing is renamed. What is refused for something that all files share (the token,
 * the collection, who may read) is told once, and no further file is sent. Returns whether all went well.
 */
export async function ingestFolder(options: IngestOptions, { http, terminal }: IngestDeps): Promise<boolean> {
  const files = await listFiles(options.folder)
  const skipped = files.filter((file) => types[extname(file).toLowerCase()] === undefined)
  const wanted = files.filter((file) => !skipped.includes(file))
  for (const file of skipped) terminal.say(`skipped, not a kind of document that is read: ${shown(file)}`)
  const queue = [...wanted]
  let done = 0
  let failed = 0
  let refused: string | undefined
  async function work(): Promise<void> {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const { problem, notes = [], isOfAll = false } = await putFile(file, options, http)
      done += 1
      if (isOfAll && problem !== undefined) {
        failed += 1
        // Others were under way.
        if (refused === undefined) terminal.say(`refused: ${problem} Every file would be: no more are sent.`)
        refused = problem
        queue.length = 0
        continue
      }
      for (const { code, detail } of notes) terminal.say(`note: ${shown(file)}: ${code} ${detail}`)
      if (problem !== undefined) {
        failed += 1
        terminal.say(`failed: ${shown(file)}: ${problem}`)
      }
      terminal.progress(done, wanted.length, file)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  terminal.say(
    `${counted(done - failed, 'document')} in ${options.collection}, ${failed} failed, ${refused === undefined ? '' : `${wanted.length - done} not sent, `}${skipped.length} skipped.`,
  )
  return failed === 0
}

/** Relative paths of the plain files, in order. Hidden ones and links are left out: a link may lead elsewhere. */
async function listFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
    throw new Error(`The folder ${shown(folder)} cannot be read (${codeOf(error)}).`, { cause: error })
  })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .filter((path) => !path.split('/').some((part) => part.startsWith('.')))
    .sort()
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : 'unknown reason'

interface Put {
  readonly problem?: string
  readonly notes?: readonly Told[]
  /** The problem is nothing of this file’s. */
  readonly isOfAll?: boolean
}

async function putFile(file: string, options: IngestOptions, http: RemitHttp): Promise<Put> {
  const id = `${options.prefix}${file}`
  if (!isId(id))
    return {
      problem: `the name makes no valid id (${shown(id)}): use A-Z a-z 0-9 . _ / @ + = % - only, at most 200`,
    }
  const path = join(options.folder, file)
  const bytes = await readFile(path)
  const body = JSON.stringify({
    id,
    collection: options.collection,
    title: titleOf(file, bytes),
    content_base64: bytes.toString('base64'),
    mime_type: types[extname(file).toLowerCase()],
    updated_at: (await stat(path)).mtime.toISOString(),
    access: {
      ...(options.owner !== undefined && { owner: options.owner }),
      viewers: options.viewers,
      parents: options.parents,
    },
  })
  const response = await http.send(`/documents/${encodeURIComponent(id)}`, () => ({
    method: 'PUT',
    headers: { 'content-type': 'application/json', prefer: 'wait' },
    body,
  }))
  if (!response.ok) {
    const { problem, field } = await refusalOf(response)
    return { problem, isOfAll: isShared(response.status, field) }
  }
  const { job } = (await response.json()) as { readonly job: { readonly id: string } }
  const { state, failed, errors, notes } = await http.job(job.id)
  if (state === 'done' && failed === 0) return { notes }
  return {
    notes,
    problem: errors.map(({ code, detail }) => `${code} ${detail}`).join('; ') || 'the job failed',
  }
}

/** Of a refused document whether every other file's would be too. A conflict is with what is stored of this one. */
const isShared = (status: number, field: string | undefined): boolean =>
  status === 401 ||
  (status === 403 && field === undefined) ||
  ((status === 403 || status === 422) && field !== undefined && /^(collection|access)\b/.test(field))

/** A Markdown file's first heading, else the file's name. */
function titleOf(file: string, bytes: Buffer): string {
  const name = basename(file, extname(file))
  if (types[extname(file).toLowerCase()] !== 'text/markdown') return name
  const heading = /^#[ \t]+(\S.*)$/m.exec(bytes.toString('utf8'))?.[1]
  if (heading === undefined) return name
  let end = heading.length
  while (end > 1 && ' \t#'.includes(heading.charAt(end - 1))) end -= 1
  return heading.slice(0, Math.min(end, 1_000))
}

const shown = (text: string): string => text.replaceAll(/\p{C}/gu, '?')
