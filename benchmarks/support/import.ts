import { setTimeout as sleep } from 'node:timers/promises'
import type { Running } from './running.ts'
import { serviceClient } from './running.ts'

/** A tuple as `POST /access` takes it. */
export interface TupleLine {
  readonly user: string
  readonly relation: string
  readonly object: string
}

interface JobAnswer {
  readonly state: string
  readonly done: number
  readonly failed: number
  readonly total: number
  readonly errors: readonly {
    readonly id?: string
    readonly line?: number
    readonly code: string
    readonly detail: string
  }[]
}

const linesMax = 250
const pollMs = 250
const reportEveryMs = 20_000

/** Fresh for every call: a token lives five minutes, an import longer. */
const serviceToken = ({ token }: Running): Promise<string> =>
  token({ sub: serviceClient, client_id: serviceClient, scope: 'docs.write directory.write' })

/** Imports documents by `POST /imports` and resolves when every one is published; any error is thrown. */
export async function importDocuments(
  running: Running,
  documents: readonly object[],
  say: (text: string) => void,
): Promise<void> {
  let before = 0
  for (let from = 0; from < documents.length; from += linesMax) {
    const part = documents.slice(from, from + linesMax)
    const body = part.map((document) => `${JSON.stringify(document)}\n`).join('')
    const answer = await running.call(
      'POST',
      '/imports',
      await serviceToken(running),
      body,
      'application/x-ndjson',
    )
    const { id } = (answer as { job: { id: string } }).job
    await finished(running, id, (done) => say(`${before + done} of ${documents.length} documents`))
    before += part.length
  }
}

async function finished(running: Running, id: string, report: (done: number) => void): Promise<void> {
  let last = performance.now()
  for (;;) {
    const job = (await running.call('GET', `/jobs/${id}`, await serviceToken(running))) as JobAnswer
    const [error] = job.errors
    if (job.failed > 0 || job.state === 'failed')
      throw new Error(`The import failed: ${JSON.stringify(error)}`)
    if (job.state === 'done') return
    if (performance.now() - last > reportEveryMs) {
      report(job.done)
      last = performance.now()
    }
    await sleep(pollMs)
  }
}
