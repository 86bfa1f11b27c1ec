import { setTimeout as sleep } from 'node:timers/promises'
import { isRemitError, type JobEntry } from '@remit/client'
import { isId } from '@remit/contract/id'
import { type Command, InvalidArgumentError } from 'commander'
import { createParser } from '../ingest/parse/parser.ts'
import { titleOf } from '../ingest/parse/title-of.ts'
import { pluralize } from '../kernel/pluralize.ts'
import { printable } from '../kernel/printable.ts'
import {
  createFolderSource,
  FileProblem,
  type FolderFile,
  type FolderOptions,
} from '../sources/kinds/folder/folder-source.ts'
import type { CliDeps } from './deps.ts'
import { anyType, bare, repeatable, typed } from './ids.ts'
import { isNotAnswering } from './not-answering.ts'
import type { Terminal } from './terminal.ts'
import { asWriter, type CommandWriter, problemOf, type WriterFlags, writerFor } from './writer.ts'

interface IngestFlags extends WriterFlags {
  readonly collection: string
  readonly owner?: string
  readonly viewer: string[]
  readonly parent: string[]
  /** False: --no-readers. */
  readonly readers: boolean
  readonly prefix?: string
  readonly baseUrl?: string
}

/** `ingest`: a folder's documents. */
export function addIngestCommand(program: Command, dependencies: CliDeps, outcome: { ok: boolean }): void {
  const command = program
    .command('ingest <folder>')
    .description('Puts a folder’s documents into a collection.')
    .requiredOption('--collection <id>', 'where they are filed', bare('collection'))
    .option('--owner <user>', 'for example user:anne', typed('user'))
    .option(
      '--viewer <subject>',
      'for example user:anne or group:eng#member; repeat for more',
      repeatable(anyType('user:anne', 'group:eng#member')),
      [],
    )
    .option(
      '--parent <object>',
      'folder or collection whose readers may read; repeat for more',
      repeatable(anyType('collection:handbook', 'folder:plans')),
      [],
    )
    .option('--no-readers', 'nobody may read them, nor what is there already of them')
    .option('--prefix <prefix>', 'put before each path to make its id (default: the collection and a slash)')
    .option(
      '--base-url <url>',
      'where the files lie for whoever follows a citation: each has this and its path',
      webAddress,
    )
  asWriter(command).action(async (folder: string, flags: IngestFlags) => {
    assertReaders(flags)
    const { collection, owner, viewer: viewers, parent: parents, prefix = `${collection}/`, baseUrl } = flags
    outcome.ok = await ingestFolder(
      {
        folder,
        collection,
        access: { ...(owner !== undefined && { owner }), viewers, parents },
        prefix,
        ...(baseUrl !== undefined && { baseUrl }),
      },
      {
        to: writerFor(flags, dependencies),
        terminal: dependencies.terminal,
        now: dependencies.now,
        stopping: dependencies.whenInterrupted?.() ?? new AbortController().signal,
      },
    )
  })
}

/** What is sent replaces who may read: saying nothing would take the documents from all their readers. */
function assertReaders({ owner, viewer, parent, readers }: IngestFlags): void {
  const named = owner !== undefined || viewer.length > 0 || parent.length > 0
  if (named !== readers)
    throw new Error(
      'Name who may read the documents with --owner, --viewer or --parent, or say --no-readers. Who could read them before can no more, unless named again.',
    )
}

function webAddress(value: string): string {
  if (!/^https?:$/.test(URL.parse(value)?.protocol ?? ''))
    throw new InvalidArgumentError('An http or https address is needed.')
  return value
}

interface IngestDeps {
  readonly to: CommandWriter
  readonly terminal: Terminal
  readonly now: () => number
  /** Fires when whoever started it has had enough. */
  readonly stopping: AbortSignal
}

const atOnce = 4
const tickMs = 1_000
// As long as a restart may take; a service that never answered is not waited for.
const downMsMax = 120_000
const pauseMsMax = 2_000

/**
 * Puts every readable file of a folder into a collection, four at a time, and waits until each is in. Files
 * that are gone are not withdrawn. A file that the source calls broken is reported and left out. What is
 * refused for something that all files share (the token, the collection, who may read) is told once, and no
 * further file is sent. A service that answered before is waited for, two minutes at most. Always says how
 * many are in. Returns whether all went well.
 */
async function ingestFolder(options: FolderOptions, deps: IngestDeps): Promise<boolean> {
  const { to, terminal, stopping } = deps
  if (!isId(`${options.prefix}x`))
    throw new Error(
      `--prefix makes no valid id (${printable(options.prefix)}): use A-Z a-z 0-9 . _ / @ + = % - only, % as %XX.`,
    )
  await using parser = createParser()
  const source = createFolderSource(options, { titleOf: (input) => titleOf(input, parser) })
  const { files, skipped } = await source.files()
  for (const path of skipped) terminal.say(`skipped, not a kind of document that is read: ${printable(path)}`)
  const queue = [...files]
  const count = { done: 0, failed: 0, unchanged: 0, sameContent: 0 }
  let refusal: string | undefined
  let current = ''
  const patiently = createPatience(deps)
  async function work(): Promise<void> {
    for (let file = queue.shift(); file !== undefined && !stopping.aborted; file = queue.shift()) {
      const sent = file
      current = sent.path
      const { problem, notes = [], isOfAll = false } = await patiently(() => putFile(sent, to))
      if (stopping.aborted) return
      count.done += 1
      if (isOfAll && problem !== undefined) {
        count.failed += 1
        // Others were under way.
        if (refusal === undefined) terminal.say(`refused: ${problem} Every file would be: no more are sent.`)
        refusal = problem
        queue.length = 0
        continue
      }
      for (const { code, detail } of notes)
        if (code === 'unchanged') count.unchanged += 1
        else if (code === 'same_content') count.sameContent += 1
        else terminal.say(`note: ${printable(sent.path)}: ${code} ${detail}`)
      if (problem !== undefined) {
        count.failed += 1
        terminal.say(`failed: ${printable(sent.path)}: ${problem}`)
      }
      terminal.progress(count.done, files.length, sent.path)
    }
  }
  // A large file says nothing of itself meanwhile.
  const ticking = setInterval(() => terminal.progress(count.done, files.length, current), tickMs).unref()
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
  const { done: doneCount, failed, unchanged } = count
  const notSent = files.length - doneCount
  const parts = [
    `${doneCount - failed} of ${pluralize(files.length, 'file')} ${files.length === 1 ? 'is' : 'are'} in ${options.collection}${unchanged > 0 ? ` (${unchanged} unchanged)` : ''}`,
    `${failed} failed`,
    ...(notSent > 0 ? [`${notSent} not sent`] : []),
    `${skipped.length} skipped`,
  ]
  terminal.say(`${parts.join(', ')}.`)
  if (count.sameContent > 0)
    terminal.say(
      `Of ${pluralize(count.sameContent, 'document')} only title, address or access changed. Each run sets readers and --base-url anew: it takes away what it does not name.`,
    )
  if (notSent > 0 && refusal === undefined)
    terminal.say('Stopped. Run it again to go on: what is in is not read again.')
  if (broke !== undefined) throw broke
  return failed === 0 && notSent === 0
}

/**
 * Does it again while a service that answered before does not, with growing pauses, for {@link downMsMax} at
 * most.
 */
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

interface PutOutcome {
  readonly problem?: string
  readonly notes?: readonly JobEntry[]
  /** The problem is nothing of this file’s. */
  readonly isOfAll?: boolean
}

async function putFile(
  { id, problem = '', load }: FolderFile,
  { writer, reasonOf }: CommandWriter,
): Promise<PutOutcome> {
  if (id === undefined) return { problem }
  try {
    const { content, access } = await load()
    return { notes: (await writer.put({ ...content, id, access })).notes }
  } catch (error) {
    if (error instanceof FileProblem) return { problem: error.message }
    if (isRemitError(error, 'write_failed')) return { notes: error.data.job.notes, problem: error.message }
    if (!isRemitError(error) || error.status === undefined) throw reasonOf(error)
    return { problem: problemOf(error), isOfAll: isShared(error.status, error.field) }
  }
}

/**
 * Of a refused document whether every other file's would be too. A conflict is with what is stored of this
 * one.
 */
const isShared = (status: number, field: string | undefined): boolean =>
  status === 401 ||
  (status === 403 && field === undefined) ||
  ((status === 403 || status === 422) && field !== undefined && /^(collection|access)\b/.test(field))
