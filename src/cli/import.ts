import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { type ImportOptions, isRemitError, type Job } from '@remit/client'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { CliDeps } from './deps.ts'
import { bare } from './ids.ts'
import { asWriter, type CommandWriter, lineOf, problemOf, type WriterFlags, writerFor } from './writer.ts'

interface ImportFlags extends WriterFlags {
  readonly mode?: string
  readonly allowEmpty: boolean
  readonly allowWithdraw?: number
}

/** `import`: an NDJSON file of documents. */
export function addImportCommand(program: Command, dependencies: CliDeps, outcome: { ok: boolean }): void {
  const command = program
    .command('import <file>')
    .description('Imports an NDJSON file of documents.')
    .addOption(
      new Option('--mode <mode>', 'snapshot: what the file does not list is withdrawn').choices(['snapshot']),
    )
    .option('--collection <id>', 'collection of the snapshot', bare('collection'))
    .option('--allow-empty', 'lets an empty snapshot withdraw all, within --allow-withdraw', false)
    .option(
      '--allow-withdraw <n>',
      'how many documents may go where they are more than half of the collection (else none go, and it says how many would)',
      count,
    )
  asWriter(command).action(async (file: string, flags: ImportFlags) => {
    const { mode, collection, allowEmpty, allowWithdraw } = flags
    if ((mode === undefined) !== (collection === undefined))
      throw new Error('--mode snapshot and --collection belong together.')
    const withdrawing = {
      allowEmpty,
      ...(collection !== undefined && { snapshotOf: collection }),
      ...(allowWithdraw !== undefined && { allowWithdraw }),
    }
    outcome.ok = await importFile(file, withdrawing, writerFor(flags, dependencies), dependencies)
  })
}

function count(value: string): number {
  if (!/^\d{1,9}$/.test(value)) throw new InvalidArgumentError('A number is needed.')
  return Number(value)
}

/** What the file withdraws, and how much of it. */
type Withdrawing = Pick<ImportOptions, 'snapshotOf' | 'allowEmpty' | 'allowWithdraw'>

/**
 * Streams an NDJSON file to the service, waits for its job and prints errors and notes by line. Returns
 * whether all went well.
 */
async function importFile(
  file: string,
  options: Withdrawing,
  to: CommandWriter,
  dependencies: CliDeps,
): Promise<boolean> {
  const { terminal } = dependencies
  const job = await runImport(file, options, to, dependencies)
  if (job === undefined) return false
  const { state, done: doneCount, failed, total, withdrawn, errors, notes } = job
  for (const entry of [...errors, ...notes]) terminal.say(lineOf(entry))
  const withdrawnText = options.snapshotOf === undefined ? '' : ` ${withdrawn} withdrawn,`
  terminal.say(`${doneCount - withdrawn} of ${total - withdrawn} in,${withdrawnText} ${failed} failed.`)
  const undone = notes.some(({ code }) => code === 'snapshot_not_applied')
  return state === 'done' && failed === 0 && errors.length === 0 && !undone
}

/** The ended job; undefined where the import was refused, which is said. */
async function runImport(
  file: string,
  options: Withdrawing,
  { writer, reasonOf }: CommandWriter,
  { terminal, newKey }: CliDeps,
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
        onProgress: ({ done: doneCount, failed, total }) =>
          terminal.progress(doneCount + failed, total, 'documents'),
      },
    )
  } catch (error) {
    if (!isRemitError(error) || error.status === undefined) throw reasonOf(error)
    if (isAccepted) throw new Error(problemOf(error), { cause: error })
    terminal.say(`refused: ${problemOf(error)}`)
    return undefined
  }
}
