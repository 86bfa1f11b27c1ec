import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, extname, join, relative, sep } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type DocumentInput, isRemitError, type JobEntry } from '@remit/client'
import { isId } from '@remit/contract/id'
import { ownTitle } from '../ingest/parse/own-title.ts'
import { mimeTypes, ParseError, type ParseInput, parseLimitsDefault } from '../ingest/parse/parsed.ts'
import { createParser, type Parser } from '../ingest/parse/parser.ts'
import { pluralize } from '../kernel/pluralize.ts'
import { isNotAnswering } from './not-answering.ts'
import { pathId } from './path-id.ts'
import type { Terminal } from './terminal.ts'
import { type CommandWriter, problemOf } from './writer.ts'

export interface IngestOptions {
  readonly folder: string
  readonly collection: string
  readonly owner?: string
  readonly viewers: readonly string[]
  readonly parents: readonly string[]
  /** Put before each file's path to make its id. */
  readonly prefix: string
  /** Address under which the files lie for whoever follows a citation. Left out: documents have none. */
  readonly baseUrl?: string
}

export interface IngestDeps {
  readonly to: CommandWriter
  readonly terminal: Terminal
  readonly now: () => number
  /** Fires when whoever started it has had enough. */
  readonly stopping: AbortSignal
}

const types: Readonly<Record<string, string>> = {
  '.md': mimeTypes.markdown,
  '.markdown': mimeTypes.markdown,
  '.txt': mimeTypes.plain,
  '.html': mimeTypes.html,
  '.htm': mimeTypes.html,
  '.json': mimeTypes.json,
  '.pdf': mimeTypes.pdf,
  '.docx': mimeTypes.docx,
}

// Of which isId speaks.
const idLengthMax = 200
const atOnce = 4
const tickMs = 1_000
// As long as a restart may take; a service that never answered is not waited for.
const downMsMax = 120_000
const pauseMsMax = 2_000

/**
 * Puts every readable file of a folder into a collection, four at a time, and waits until each is in. What of a file's
 * name ids do not take is percent-encoded in its id ({@link pathId}); a file whose id is too long or another file's is reported and
 * left out. What is refused for something that all files share (the token,
 * the collection, who may read) is told once, and no further file is sent. A service that answered before is waited for, two
 * minutes at most. Always says how many are in. Returns whether all went well.
 */
export async function ingestFolder(options: IngestOptions, deps: IngestDeps): Promise<boolean> {
  const { to, terminal, stopping } = deps
  if (!isId(`${options.prefix}x`))
    throw new Error(
      `--prefix makes no valid id (${shown(options.prefix)}): use A-Z a-z 0-9 . _ / @ + = % - only, % as %XX.`,
    )
  const files = await listFiles(options.folder)
  const skipped = files.filter((file) => types[extname(file).toLowerCase()] === undefined)
  const wanted = files.filter((file) => !skipped.includes(file))
  for (const file of skipped) terminal.say(`skipped, not a kind of document that is read: ${shown(file)}`)
  const idOf = idsOf(wanted, options.prefix)
  const queue = [...wanted]
  const count = { done: 0, failed: 0, unchanged: 0, sameContent: 0 }
  let refused: string | undefined
  let current = ''
  const patiently = createPatience(deps)
  await using parser = createParser()
  async function work(): Promise<void> {
    for (let file = queue.shift(); file !== undefined && !stopping.aborted; file = queue.shift()) {
      current = file
      const path = file
      const {
        problem,
        notes = [],
        isOfAll = false,
      } = await patiently(() => putFile(path, idOf(path), options, { to, parser }))
      if (stopping.aborted) return
      count.done += 1
      if (isOfAll && problem !== undefined) {
        count.failed += 1
        // Others were under way.
        if (refused === undefined) terminal.say(`refused: ${problem} Every file would be: no more are sent.`)
        refused = problem
        queue.length = 0
        continue
      }
      for (const { code, detail } of notes)
        if (code === 'unchanged') count.unchanged += 1
        else if (code === 'same_content') count.sameContent += 1
        else terminal.say(`note: ${shown(file)}: ${code} ${detail}`)
      if (problem !== undefined) {
        count.failed += 1
        terminal.say(`failed: ${shown(file)}: ${problem}`)
      }
      terminal.progress(count.done, wanted.length, file)
    }
  }
  // A large file says nothing of itself meanwhile.
  const ticking = setInterval(() => terminal.progress(count.done, wanted.length, current), tickMs).unref()
  const stopped = new Promise<void>((resolve) =>
    stopping.addEventListener('abort', () => resolve(), { once: true }),
  )
  let broke: unknown
  try {
    await Promise.race([Promise.all(Array.from({ length: atOnce }, work)), stopped])
  } catch (error) {
    queue.length = 0
    // The reason alone says it, where nothing went in.
    if (count.done === 0) throw error
    broke = error
  } finally {
    clearInterval(ticking)
  }
  const { done, failed, unchanged } = count
  const notSent = wanted.length - done
  const parts = [
    `${done - failed} of ${pluralize(wanted.length, 'file')} ${wanted.length === 1 ? 'is' : 'are'} in ${options.collection}${unchanged > 0 ? ` (${unchanged} unchanged)` : ''}`,
    `${failed} failed`,
    ...(notSent > 0 ? [`${notSent} not sent`] : []),
    `${skipped.length} skipped`,
  ]
  terminal.say(`${parts.join(', ')}.`)
  if (count.sameContent > 0)
    terminal.say(
      `Of ${pluralize(count.sameContent, 'document')} only title, address or access changed: --base-url and who may read are what this run named.`,
    )
  if (notSent > 0 && refused === undefined)
    terminal.say('Stopped. Run it again to go on: what is in is not read again.')
  if (broke !== undefined) throw broke
  return failed === 0 && notSent === 0
}

/** Does it again while a service that answered before does not, with growing pauses, for {@link downMsMax} at most. */
function createPatience({ terminal, now, stopping }: IngestDeps) {
  let answered = false
  let downSince: number | undefined
  return async function patiently<T>(work: () => Promise<T>): Promise<T> {
    for (let pause = 100; ; pause = Math.min(pause * 2, pauseMsMax)) {
      try {
        const result = await work()
        answered = true
        downSince = undefined
        return result
      } catch (error) {
        if (!answered || !isNotAnswering(error) || stopping.aborted) throw error
        if (downSince === undefined)
          terminal.say('The service does not answer. Trying again for two minutes.')
        downSince ??= now()
        if (now() - downSince > downMsMax) throw error
        await sleep(pause)
      }
    }
  }
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

interface FileId {
  readonly id: string
  readonly problem?: string
}

/** The id of each file, and why it cannot have it. A name that is as it stands wins over one that had to be encoded. */
function idsOf(files: readonly string[], prefix: string): (file: string) => FileId {
  const owners = new Map<string, string>()
  for (const file of files)
    if (pathId(file) === file || !owners.has(pathId(file))) owners.set(pathId(file), file)
  return (file) => {
    const path = pathId(file)
    const id = `${prefix}${path}`
    const owner = owners.get(path)
    if (owner !== undefined && owner !== file)
      return { id, problem: `its id (${id}) is that of ${shown(owner)}. Rename one of them.` }
    if (id.length > idLengthMax)
      return {
        id,
        problem: `its id would have ${id.length} characters, more than ${idLengthMax} (${shown(id)}).`,
      }
    return { id }
  }
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : 'unknown reason'

interface Put {
  readonly problem?: string
  readonly notes?: readonly JobEntry[]
  /** The problem is nothing of this file’s. */
  readonly isOfAll?: boolean
}

async function putFile(
  file: string,
  { id, problem }: FileId,
  options: IngestOptions,
  { to: { writer, reasonOf }, parser }: { readonly to: CommandWriter; readonly parser: Parser },
): Promise<Put> {
  if (problem !== undefined) return { problem }
  const read = await readWhole(join(options.folder, file))
  if ('problem' in read) return read
  const { bytes, changedAt } = read
  const mimeType = types[extname(file).toLowerCase()] ?? ''
  const { baseUrl } = options
  const document: DocumentInput = {
    id,
    collection: options.collection,
    title: (await titleOf({ mimeType, bytes }, parser)) ?? basename(file, extname(file)),
    ...(baseUrl !== undefined && {
      uri: `${baseUrl.replace(/\/$/, '')}/${file.split('/').map(encodeURIComponent).join('/')}`,
    }),
    content_base64: bytes.toString('base64'),
    mime_type: mimeType,
    updated_at: changedAt.toISOString(),
    access: {
      ...(options.owner !== undefined && { owner: options.owner }),
      viewers: options.viewers,
      parents: options.parents,
    },
  }
  try {
    return { notes: (await writer.put(document)).notes }
  } catch (error) {
    if (isRemitError(error, 'write_failed')) return { notes: error.data.job.notes, problem: error.message }
    if (!isRemitError(error) || error.status === undefined) throw reasonOf(error)
    return { problem: problemOf(error), isOfAll: isShared(error.status, error.field) }
  }
}

/** In a thread where it takes a library that a document can hold up. Of one that cannot be read the service says why. */
async function titleOf(input: ParseInput, parser: Parser): Promise<string | undefined> {
  const { mimeType } = input
  try {
    return mimeType === mimeTypes.pdf || mimeType === mimeTypes.docx
      ? await parser.ownTitle(input)
      : await ownTitle(input, parseLimitsDefault)
  } catch (error) {
    if (error instanceof ParseError) return undefined
    throw error
  }
}

/** Of a refused document whether every other file's would be too. A conflict is with what is stored of this one. */
const isShared = (status: number, field: string | undefined): boolean =>
  status === 401 ||
  (status === 403 && field === undefined) ||
  ((status === 403 || status === 422) && field !== undefined && /^(collection|access)\b/.test(field))

/** A file that is gone or closed by now is a problem of its own, and none of the others'. */
async function readWhole(
  path: string,
): Promise<{ readonly bytes: Buffer; readonly changedAt: Date } | { readonly problem: string }> {
  try {
    return { bytes: await readFile(path), changedAt: (await stat(path)).mtime }
  } catch (error) {
    return { problem: `it cannot be read (${codeOf(error)}).` }
  }
}

const shown = (text: string): string => text.replaceAll(/\p{C}/gu, '?')
