import { join } from 'node:path'
import { Readable } from 'node:stream'
import { operator } from '../audit/record.ts'
import type { Administrators } from '../delegation/administration/administrators.ts'
import type { Delegations } from '../delegation/lending/delegations.ts'
import type { Passwords } from '../delegation/people/passwords.ts'
import type { People } from '../delegation/people/people.ts'
import type { Agents } from '../delegation/registry/agents.ts'
import { type Services, serviceObject } from '../delegation/registry/services.ts'
import type { Ingest } from '../ingest/ingest.ts'
import { readPrivate, writePrivate } from '../store/private-file.ts'
import type { Database } from '../store/sql.ts'
import type { Sample } from './load.ts'

/** What {@link seedSample} writes to. */
export interface SeedDeps {
  readonly database: Database
  readonly people: People
  readonly agents: Agents
  readonly services: Services
  readonly administrators: Administrators
  readonly delegations: Delegations
  /** Name by which the built-in issuer knows its agents. */
  readonly issuer: string
  readonly ingest: Ingest
}

interface SamplePasswordsDeps {
  readonly passwords: Pick<Passwords, 'set'>
  readonly randomBytes: (size: number) => Buffer
}

/** Whether the sample was seeded whole. */
export async function isSeeded(database: Database): Promise<boolean> {
  const rows = await database.query(`select 1 from settings where key = 'sample_seeded'`)
  return rows.length > 0
}

/** Seeds the demo company. Every step may run twice: a start that was killed is completed by the next. */
export async function seedSample(
  sample: Sample,
  dependencies: SeedDeps,
  signal?: AbortSignal,
): Promise<void> {
  const { database, people, agents, services, administrators, delegations, ingest } = dependencies
  const writer = operator('sample')
  for (const person of sample.people) await people.save(person)
  for (const { id, title, publicAllowed } of sample.collections) {
    await ingest.saveCollection(writer, { id, title, publicAllowed })
  }
  await ingest.saveFields(writer, sample.fields)
  for (const service of sample.services) await services.save(service)
  const { directory, collections, folders } = sample.tuples
  await ingest.applyTuples(writer, { writes: [...directory, ...collections, ...folders], deletes: [] })
  for (const agent of sample.agents)
    await agents.save({ ...agent, issuer: dependencies.issuer, sub: agent.id })
  for (const { subject, roles } of sample.administrators) await administrators.add(subject, roles)
  const [loader] = sample.services
  if (loader === undefined) throw new Error('The sample has no service that could load its documents.')
  await takeIn(ingest, loader.name, sample.documents, signal)
  for (const delegation of sample.delegations) await delegations.lend(delegation)
  await database.query(
    `insert into settings (key, value) values ('sample_seeded', 'true') on conflict do nothing`,
  )
}

/** Imports documents as a service by the ordinary way and resolves when all are published. */
export async function takeIn(
  ingest: Ingest,
  service: string,
  documents: readonly object[],
  signal?: AbortSignal,
): Promise<void> {
  const writer = { ...operator('sample'), subject: serviceObject(service) }
  const body = Readable.from(documents.map((document) => Buffer.from(`${JSON.stringify(document)}\n`)))
  const jobId = await ingest.importAll(writer, { body })
  const timeout = AbortSignal.timeout(publishMsMax)
  const job = await ingest.waitForJob(
    jobId,
    writer.subject,
    signal ? AbortSignal.any([signal, timeout]) : timeout,
  )
  signal?.throwIfAborted()
  const [error] = job?.errors ?? []
  if (error !== undefined)
    throw new Error(`${error.id ?? `line ${error.line}`}: ${error.field ?? ''} ${error.detail}`)
  if (job?.state !== 'done')
    throw new Error(`The documents were not published in time: ${job?.done} of ${job?.total}.`)
}

const publishMsMax = 600_000

/** Where the passwords of the sample's people are, in REMIT_HOME. */
export const samplePasswordsFile = (home: string): string => join(home, 'demo-passwords')

/**
 * Gives the sample's people passwords of their own and writes them down (0600), unless that was done. Random
 * ones: whatever stands in a repository is known to everybody. Without the file all of them are made anew.
 */
export async function giveSamplePasswords(
  home: string,
  people: readonly { readonly key: string }[],
  { passwords, randomBytes }: SamplePasswordsDeps,
): Promise<void> {
  const path = samplePasswordsFile(home)
  if ((await readPrivate(path)) !== undefined) return
  const newPasswords = people.map(({ key }) => ({ key, password: randomBytes(12).toString('base64url') }))
  // Set before they are written down: a crash between makes new ones, and leaves none that is written and
  // wrong.
  await Promise.all(newPasswords.map(({ key, password }) => passwords.set(key, password)))
  const width = Math.max(...people.map(({ key }) => key.length))
  const lines = newPasswords.map(({ key, password }) => `${key.padEnd(width)}  ${password}`)
  await writePrivate(path, `${[...lines].join('\n')}\n`)
}
