import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { isRemitError, type Job, type JobEntry } from '@remit/client'
import type { Terminal } from './terminal.ts'
import { type CommandWriter, problemOf } from './writer.ts'

export interface ImportOptions {
  readonly file: string
  /** Withdraws what the file does not list. */
  readonly snapshotOf?: string
  readonly allowEmpty: boolean
  /** How many documents of more than half of the collection may go. */
  readonly allowWithdraw?: number
}

export interface ImportDeps {
  readonly to: CommandWriter
  readonly terminal: Terminal
  readonly newKey: () => string
}

/** Streams an NDJSON file to the service, waits for its job and prints errors and notes by line. Returns whether all went well. */
export async function importFile(options: ImportOptions, deps: ImportDeps): Promise<boolean> {
  const { terminal } = deps
  const job = await runImport(options, deps)
  if (job === undefined) return false
  const { state, done, failed, total, withdrawn, errors, notes } = job
  for (const entry of [...errors, ...notes]) terminal.say(lineOf(entry))
  const gone = options.snapshotOf === undefined ? '' : ` ${withdrawn} withdrawn,`
  terminal.say(`${done - withdrawn} of ${total - withdrawn} in,${gone} ${failed} failed.`)
  const undone = notes.some(({ code }) => code === 'snapshot_not_applied')
  return state === 'done' && failed === 0 && errors.length === 0 && !undone
}

/** The ended job; undefined where the import was refused, which is said. */
async function runImport(
  { file, ...options }: ImportOptions,
  { to: { writer, reasonOf }, terminal, newKey }: ImportDeps,
): Promise<Job | undefined> {
  const { size } = await stat(file)
  let isAccepted = false
  try {
    return await writer.importAll(
      () => Readable.toWeb(createReadStream(file)) as ReadableStream<Uint8Array>,
      {
        ...options,
        idempotencyKey: newKey(),
        onAccepted() {
          isAccepted = true
          terminal.say(`${size} bytes sent.`)
        },
        onProgress: ({ done, failed, total }) => terminal.progress(done + failed, total, 'documents'),
      },
    )
  } catch (error) {
    if (!isRemitError(error) || error.status === undefined) throw reasonOf(error)
    if (isAccepted) throw new Error(problemOf(error), { cause: error })
    terminal.say(`refused: ${problemOf(error)}`)
    return undefined
  }
}

function lineOf({ line, id, code, field, detail }: JobEntry): string {
  const where = [line === undefined ? undefined : `line ${line}`, id, field].filter(
    (part) => part !== undefined,
  )
  return `${where.join(', ') || 'job'}: ${code}: ${detail}`
}
