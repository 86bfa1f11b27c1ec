import { randomBytes } from 'node:crypto'
import { lstat, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { Encrypter } from 'age-encryption'
import { operator, record } from '../audit/record.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { reasonOf } from '../kernel/reason.ts'
import { openSnapshots, type Snapshot } from '../store/barrier.ts'
import { openPostgres } from '../store/postgres.ts'
import type { Database } from '../store/sql.ts'
import { encrypterFor, encryptTo, fileOf, type Manifest, readArchiveKey, writeManifest } from './archive.ts'
import { assertPrograms, type Environment, startProgram } from './programs.ts'

export interface BackupOptions {
  readonly databaseUrl: string
  /** OpenFGA's own database; undefined: it is backed up by other means, before this. */
  readonly openfgaUrl: string | undefined
  readonly keysDir: string
  /** A folder that is not there yet. */
  readonly to: string
  /** A public key of age's. */
  readonly recipient: string
  readonly version: string
  readonly env: Environment
  /** Milliseconds to wait for the barrier. Default: 5,000. */
  readonly waitMs?: number
  /** Milliseconds that it may be held. Default: 5,000. */
  readonly holdMs?: number
  /** Tests stand still here. */
  readonly step?: (name: 'barrier' | 'snapshots') => Promise<void>
}

export interface BackupReport {
  readonly taken_at: string
  readonly bytes: number
  readonly openfga: boolean
  readonly seal: number
  /** Milliseconds for which writes waited, at most. */
  readonly paused_ms: number
  /** Why `backup_run` does not say so, by which metrics would tell; left out where it does. */
  readonly not_noted?: string
}

/**
 * Copies both databases as they are at one instant into a folder, encrypted. Writes wait for a moment,
 * questions never. Where it fails nothing is left of it, and `backup_run` says why.
 */
export async function backup(options: BackupOptions): Promise<BackupReport> {
  const { databaseUrl, openfgaUrl } = options
  const encrypter = encrypterFor(options.recipient)
  await using database = await openPostgres({ url: databaseUrl, poolSize: 1 })
  const to = resolve(options.to)
  const draft = `${to}.${randomBytes(6).toString('hex')}`
  const isThere = (cause?: unknown) =>
    new OperatorError(`${options.to} is there already: an archive is never written over.`, cause)
  try {
    // Before the dumps, which may take hours. And a rename would take the place of an empty folder.
    if (await lstat(to).catch(() => undefined)) throw isThere()
    const [server] = await database.query<{ version: string }>(
      `select current_setting('server_version_num') as version`,
    )
    const major = Math.floor(Number(server?.version) / 10_000)
    await assertPrograms(['pg_dump'], major, options.env)
    await mkdir(dirname(draft), { recursive: true })
    await mkdir(draft, { mode: 0o700 })
    const actor = operator(`t_${randomBytes(16).toString('base64url')}`)
    await record(database, actor, { event: 'command', command: 'backup', arguments: {} })
    const { manifest, pausedMs } = await copy({ ...options, major, draft, encrypter })
    await syncFolder(draft)
    await rename(draft, to).catch((error: unknown) => {
      throw isThere(error)
    })
    await syncFolder(dirname(to))
    const bytes = manifest.remit.bytes + (manifest.openfga?.bytes ?? 0)
    // The archive is there and whole, whatever becomes of this.
    const unnoted = await database
      .query(
        `update backup_run set taken_at = $1, ended_at = now(), bytes = $2, openfga = $3, failed_at = null, failure = null
         returning true`,
        [manifest.taken_at, bytes, openfgaUrl !== undefined],
      )
      .then(({ length }) => (length > 0 ? undefined : 'it has no row'), reasonOf)
    const { taken_at, seal } = manifest
    return {
      taken_at,
      bytes,
      openfga: openfgaUrl !== undefined,
      seal,
      paused_ms: pausedMs,
      ...(unnoted !== undefined && { not_noted: unnoted }),
    }
  } catch (error) {
    await rm(draft, { recursive: true, force: true })
    await noteFailure(database, error)
    throw error
  }
}

/** A crash leaves no file whose name is not on the disk, and names are the folder’s. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

async function noteFailure(database: Database, error: unknown): Promise<void> {
  // A database that does not answer is what the error says already.
  await database
    .query('update backup_run set failed_at = now(), failure = $1', [reasonOf(error)])
    .catch(() => undefined)
}

interface Copying extends BackupOptions {
  readonly major: number
  readonly draft: string
  readonly encrypter: Encrypter
}

async function copy(options: Copying): Promise<{ readonly manifest: Manifest; readonly pausedMs: number }> {
  const { databaseUrl, openfgaUrl, keysDir, draft, encrypter, step } = options
  const key = await readArchiveKey(keysDir)
  await using snapshots = await openSnapshots({
    databaseUrl,
    openfgaUrl,
    waitMs: options.waitMs ?? 5_000,
    holdMs: options.holdMs ?? 5_000,
    step: async () => step?.('barrier'),
  })
  await step?.('snapshots')
  const { database, openfga, pausedMs } = snapshots
  const [facts] = await database.query<{ seal: number; migrations: string[]; isRecovering: boolean }>(
    `select coalesce((select max(seal_no) from record_seals), 0)::float8 as seal,
       array(select name from migrations order by name) as migrations,
       exists (select from epochs where recovering_since is not null) as "isRecovering"`,
  )
  if (facts === undefined) throw new OperatorError('DATABASE_URL names no database of Remit.')
  // Half of what counts again is ended in it, and nothing of it says which half.
  if (facts.isRecovering)
    throw new OperatorError('The database waits for the end of `remit recover`. Run that first.')
  const dump = async (name: 'remit' | 'openfga', url: string, { id }: Snapshot) => {
    const program = startProgram('pg_dump', { url, env: options.env }, [
      '--format=custom',
      `--snapshot=${id}`,
      '--no-sync',
    ])
    try {
      program.stdin.end()
      const part = await encryptTo(fileOf(draft, name), encrypter, program.stdout)
      await program.ended
      return part
    } finally {
      program.kill()
    }
  }
  const [place] =
    (await openfga?.query<{ ulid: string | null }>(`select max(ulid) as ulid from changelog`)) ?? []
  const manifest = await writeManifest(draft, key, {
    format: 1,
    version: options.version,
    taken_at: database.takenAt.toISOString(),
    migrations: facts.migrations,
    server_major: options.major,
    remit: await dump('remit', databaseUrl, database),
    openfga:
      openfga === undefined || openfgaUrl === undefined ? null : await dump('openfga', openfgaUrl, openfga),
    log_place: place?.ulid ?? null,
    seal: facts.seal,
  })
  return { manifest, pausedMs }
}
