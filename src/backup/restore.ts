import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { finished } from 'node:stream/promises'
import { OperatorError } from '../kernel/operator-error.ts'
import { runStatements, userTables } from '../store/barrier.ts'
import { restoreMark } from '../store/migrate.ts'
import type { Restored } from '../store/restored.ts'
import {
  decryptFrom,
  fileOf,
  type Manifest,
  type PartName,
  readArchiveKey,
  readIdentities,
  type Verified,
  verifyArchive,
} from './archive.ts'
import { assertPrograms, type Environment, ProgramError, startProgram } from './programs.ts'

export interface RestoreOptions {
  readonly databaseUrl: string
  /** OpenFGA's own database, empty. */
  readonly openfgaUrl: string | undefined
  readonly keysDir: string
  /** The archive. */
  readonly from: string
  /** A file with the private key. */
  readonly identity: string
  readonly env: Environment
  /** Folder of the migrations that this version has. */
  readonly migrations: URL
  /** Tests crash here. */
  readonly step?: (name: 'marked' | 'openfga' | 'loading' | 'loaded') => Promise<void>
}

/** Without `databaseUrl` nothing can be restored here, so no database for OpenFGA is asked for either. */
export type CheckOptions = Omit<RestoreOptions, 'databaseUrl' | 'step'> & {
  readonly databaseUrl: string | undefined
}

export interface CheckReport {
  readonly taken_at: string
  readonly openfga: 'in_it' | 'not_in_it'
  readonly seal: number
}

export interface RestoreReport {
  readonly taken_at: string
  readonly openfga: 'restored' | 'not_in_it'
  readonly seal: number
}

/**
 * All that `restore` looks at before it asks a database: every byte of the archive, the key, the version and
 * the programs. Nothing is written. Throws OperatorError. Does NOT look whether the databases are empty.
 */
export async function checkArchive(options: CheckOptions): Promise<CheckReport> {
  const { manifest } = await verify(options)
  return {
    taken_at: manifest.taken_at,
    openfga: manifest.openfga === null ? 'not_in_it' : 'in_it',
    seal: manifest.seal,
  }
}

async function verify(options: CheckOptions) {
  const { from, keysDir, migrations, identity, databaseUrl, openfgaUrl, env } = options
  const { manifest, blocks } = await verifyArchive(from, await readArchiveKey(keysDir))
  await assertKnown(manifest, migrations)
  const takesOpenfga = manifest.openfga !== null
  if (takesOpenfga && databaseUrl !== undefined && openfgaUrl === undefined)
    throw new OperatorError(
      'The archive holds OpenFGA’s database too. Name an empty one in OPENFGA_DATASTORE_URI.',
    )
  const identities = await readIdentities(identity)
  for (const name of partsOf(manifest, takesOpenfga))
    (await decryptFrom(fileOf(from, name), identities, blocks[name] ?? [])).destroy()
  await assertPrograms(['pg_restore', 'psql'], manifest.server_major, env)
  return { manifest, blocks, takesOpenfga, identities }
}

/**
 * Fills two empty databases from an archive. Nothing is written before every byte of the archive was found to
 * be as it was. Remit's own database is marked first, and loaded last, in one transaction that leaves the
 * mark of one that is to be recovered: so nothing that died in between is ever started on. Throws
 * OperatorError, and says what was wrong.
 */
export async function restore(options: RestoreOptions): Promise<RestoreReport> {
  const { databaseUrl, openfgaUrl, from, step = async () => undefined } = options
  const { manifest, blocks, takesOpenfga, identities } = await verify(options)
  const isBegun = await isOneBegun(databaseUrl, manifest)
  const openfgaEmpty =
    takesOpenfga && openfgaUrl !== undefined && !(isBegun && (await hasOpenfga(openfgaUrl, manifest)))
      ? openfgaUrl
      : undefined
  if (openfgaEmpty !== undefined) await assertOpenfgaEmpty(openfgaEmpty)
  if (!isBegun)
    await runStatements(
      databaseUrl,
      `begin; create table public.${restoreMark} (archive text primary key);
       insert into public.${restoreMark} values ('${manifest.mac}'); commit`,
    )
  await step('marked')
  if (openfgaEmpty !== undefined)
    await load({
      from,
      name: 'openfga',
      blocks,
      url: openfgaEmpty,
      identities,
      env: options.env,
      last: `do $$ begin execute format('comment on table %s is %L', (${changelog}), '${noteOf(manifest)}'); end $$; commit;`,
    })
  await step('openfga')
  const restored: Restored = {
    taken_at: manifest.taken_at,
    restored_at: new Date().toISOString(),
    openfga: takesOpenfga,
    seal: manifest.seal,
  }
  await load({
    from,
    name: 'remit',
    blocks,
    url: databaseUrl,
    identities,
    env: options.env,
    onLoading: () => step('loading'),
    last: `select pg_catalog.set_config('search_path', 'public', true);
      update epochs set recovering_since = coalesce(recovering_since, now()), restored = '${JSON.stringify(restored)}';
      drop table ${restoreMark}; commit;`,
  })
  await step('loaded')
  return {
    taken_at: manifest.taken_at,
    openfga: takesOpenfga ? 'restored' : 'not_in_it',
    seal: manifest.seal,
  }
}

const partsOf = (manifest: Manifest, takesOpenfga: boolean): readonly PartName[] =>
  takesOpenfga && manifest.openfga !== null ? ['openfga', 'remit'] : ['remit']

async function assertKnown({ migrations, version }: Manifest, folder: URL): Promise<void> {
  const files = await readdir(folder)
  const unknown = migrations.find((name) => !files.includes(name))
  if (unknown === undefined) return
  throw new OperatorError(
    `The archive is of a newer version of Remit (${version}): its tables were changed by ${unknown}, which this version does not have. Restore with that version.`,
  )
}

/** False where nothing is there, true where a restore of this very archive died. Throws for all else. */
async function isOneBegun(url: string, { mac }: Manifest): Promise<boolean> {
  const tables = await userTables(url).catch((error: unknown) => {
    throw new OperatorError(
      `DATABASE_URL does not answer: ${error instanceof Error ? error.message : ''}`,
      error,
    )
  })
  if (tables.length === 0) return false
  if (tables.join() !== `public.${restoreMark}`)
    throw new OperatorError(
      `The database of DATABASE_URL is not empty (${tables.slice(0, 3).join(', ')} …). Nothing is restored over another: create it anew and empty.`,
    )
  const marks = await runStatements(url, `select archive from public.${restoreMark}`)
  if (marks[0]?.['archive'] !== mac)
    throw new OperatorError(
      'A restore of another archive was begun in the database of DATABASE_URL. Create both databases anew and empty.',
    )
  return true
}

// OpenFGA's half says by itself which archive it is of, in the dump's own transaction: the mark in Remit's
// would know of neither a commit whose answer was lost nor a database that was made anew since. By a comment,
// which pg_restore leaves out of what it loads. No archive is without this table.
const changelog = `select min(oid::regclass::text) from pg_catalog.pg_class where relname = 'changelog' and relkind = 'r'`
const noteOf = ({ mac }: Manifest): string => `remit restore ${mac}`

async function hasOpenfga(url: string, manifest: Manifest): Promise<boolean> {
  const found = await runStatements(
    url,
    `select from pg_class where relname = 'changelog' and obj_description(oid, 'pg_class') = '${noteOf(manifest)}'`,
  )
  return found.length > 0
}

async function assertOpenfgaEmpty(url: string): Promise<void> {
  const tables = await userTables(url)
  if (tables.length > 0)
    throw new OperatorError(
      `The database of OPENFGA_DATASTORE_URI is not empty (${tables.slice(0, 3).join(', ')} …). Nothing is restored over another: create it anew and empty, with OpenFGA stopped. Its tables are in the archive.`,
    )
}

// Of psql: a statement failed, the last `commit` at the latest.
const psqlRefused = 3
const unheard =
  'Whether it is there is not known: run it again. All of it is there if that is refused because DATABASE_URL is not empty.'

interface Loading {
  readonly from: string
  readonly name: PartName
  readonly blocks: Verified['blocks']
  readonly url: string
  readonly identities: readonly string[]
  readonly env: Environment
  /** The transaction's last statements: only these make it count. */
  readonly last: string
  readonly onLoading?: () => Promise<void>
}

/**
 * One dump in one transaction. It is committed by name, and only once all of it was read, decrypted and
 * found whole: where anything ends before, psql sees no `commit`, and the server undoes it.
 */
async function load({ from, name, blocks, url, identities, env, last, onLoading }: Loading): Promise<void> {
  const source = await decryptFrom(fileOf(from, name), identities, blocks[name] ?? [])
  const script = startProgram('pg_restore', { env }, [
    '--file=-',
    '--no-owner',
    '--no-privileges',
    '--no-comments',
  ])
  const psql = startProgram('psql', { url, env }, [
    '--no-psqlrc',
    '--quiet',
    '--set=ON_ERROR_STOP=1',
    '--file=-',
  ])
  psql.stdout.resume()
  const failed = Promise.race([
    script.ended.then(() => new Promise<never>(() => undefined)),
    psql.ended.then(() => new Promise<never>(() => undefined)),
  ])
  failed.catch(() => undefined)
  let isEnding = false
  let altered: Error | undefined
  try {
    psql.stdin.write('begin;\n')
    const decrypted = finished(source)
    decrypted.catch(() => undefined)
    source.on('error', (error) => {
      altered = error
      script.kill()
    })
    // It may stop reading before the end, which is looked at all the same.
    script.stdin.on('close', () => {
      source.unpipe(script.stdin)
      source.resume()
    })
    source.pipe(script.stdin)
    let isFirst = true
    for await (const chunk of script.stdout) {
      if (!psql.stdin.write(chunk)) await Promise.race([once(psql.stdin, 'drain'), failed])
      if (isFirst) await onLoading?.()
      isFirst = false
    }
    // pg_restore stops reading where its dump ends: what comes after, age's own end too, is looked at here.
    await decrypted
    await script.ended
    isEnding = true
    psql.stdin.end(`\n${last}\n`)
    await psql.ended
  } catch (error) {
    // What ended the programs, not that they were ended.
    if (altered instanceof OperatorError) throw altered
    const isUnheard = isEnding && !(error instanceof ProgramError && error.code === psqlRefused)
    if (error instanceof OperatorError && !isUnheard) throw error
    throw new OperatorError(
      `The archive could not be loaded (${name}): ${error instanceof Error ? error.message : ''}. ${isUnheard ? unheard : 'Nothing of it is there.'}`,
      error,
    )
  } finally {
    source.destroy()
    script.kill()
    psql.kill()
  }
}
