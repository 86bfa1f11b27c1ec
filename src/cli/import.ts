import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { problemOf, type RemitHttp, type Told } from './remit-http.ts'
import type { Terminal } from './terminal.ts'

export interface ImportOptions {
  readonly file: string
  /** Withdraws what the file does not list. */
  readonly snapshotOf?: string
  readonly allowEmpty: boolean
  /** How many documents of more than half of the collection may go. */
  readonly allowWithdraw?: number
}

export interface ImportDeps {
  readonly http: RemitHttp
  readonly terminal: Terminal
  readonly newKey: () => string
}

/** Streams an NDJSON file to the service, waits for its job and prints errors and notes by line. Returns whether all went well. */
export async function importFile(
  options: ImportOptions,
  { http, terminal, newKey }: ImportDeps,
): Promise<boolean> {
  const { size } = await stat(options.file)
  const key = newKey()
  const response = await http.send(`/imports${queryOf(options)}`, () => ({
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', 'idempotency-key': key },
    body: Readable.toWeb(createReadStream(options.file)) as ReadableStream<Uint8Array>,
    // Without it fetch refuses a body that is a stream.
    duplex: 'half',
  }))
  if (!response.ok) {
    terminal.say(`refused: ${await problemOf(response)}`)
    return false
  }
  terminal.say(`${size} bytes sent.`)
  const { job } = (await response.json()) as { readonly job: { readonly id: string } }
  const ended = await http.job(job.id, ({ done, failed, total }) =>
    terminal.progress(done + failed, total, 'documents'),
  )
  const { state, done, failed, total, withdrawn, errors, notes } = ended
  for (const told of [...errors, ...notes]) terminal.say(lineOf(told))
  const gone = options.snapshotOf === undefined ? '' : ` ${withdrawn} withdrawn,`
  terminal.say(`${done - withdrawn} of ${total - withdrawn} in,${gone} ${failed} failed.`)
  const undone = notes.some(({ code }) => code === 'snapshot_not_applied')
  return state === 'done' && failed === 0 && errors.length === 0 && !undone
}

function queryOf({ snapshotOf, allowEmpty, allowWithdraw }: ImportOptions): string {
  if (snapshotOf === undefined) return ''
  const query = new URLSearchParams({ mode: 'snapshot', collection: snapshotOf })
  if (allowEmpty) query.set('allow_empty', 'true')
  if (allowWithdraw !== undefined) query.set('allow_withdraw', String(allowWithdraw))
  return `?${query}`
}

function lineOf({ line, id, code, field, detail }: Told): string {
  const where = [line === undefined ? undefined : `line ${line}`, id, field].filter(
    (part) => part !== undefined,
  )
  return `${where.join(', ') || 'job'}: ${code}: ${detail}`
}
