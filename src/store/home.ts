import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { OperatorError } from '../kernel/operator-error.ts'
import { lockFolder } from './lock.ts'
import { addressOf } from './pg.ts'
import { readPrivate, writePrivate } from './private-file.ts'

/** There is no Remit in the folder that `REMIT_HOME` names. */
export class NoHomeError extends OperatorError {
  constructor(dir: string) {
    super(`There is no Remit in ${dir}. Set REMIT_HOME to its folder, as where it was started.`)
    this.name = 'NoHomeError'
  }
}

/**
 * {@link lockFolder} for whoever works on what is there: throws {@link NoHomeError} and makes nothing where
 * no service was ever started. A mistyped folder would else become a new service, and a command there
 * "succeed" while the one that was meant knows nothing of it. Whether the database is the one that belongs to
 * it: {@link assertSameDatabase}.
 */
export async function lockHome(dir: string): Promise<AsyncDisposable> {
  assertHome(dir)
  return lockFolder(dir)
}

/** Throws {@link NoHomeError} where no service was ever started. */
export function assertHome(dir: string): void {
  if (!madeAtStart.some((name) => existsSync(join(dir, name)))) throw new NoHomeError(dir)
}

/** The embedded database; signing keys, which are there with DATABASE_URL too. */
const madeAtStart = ['db', 'keys']

const markName = 'database'

interface Asked {
  /** REMIT_HOME. */
  readonly home: string
  /** Left out: the embedded database of the folder. */
  readonly databaseUrl: string | undefined
  /**
   * Only the service's start makes an embedded database: a command on an empty one would "succeed" on
   * nothing.
   */
  readonly mayMake: boolean
}

/**
 * Throws an {@link OperatorError} where this is not the database with which the folder was last opened:
 * whoever forgets DATABASE_URL, or names another, would else work on an empty database beside the one that is
 * meant. Makes nothing.
 */
export async function assertSameDatabase({ home, databaseUrl, mayMake }: Asked): Promise<void> {
  const path = join(home, markName)
  const mark = (await readPrivate(path))?.trim()
  const askedPlace = databaseUrl === undefined ? undefined : placeOf(databaseUrl)
  if (mark !== undefined && mark !== askedPlace)
    throw new OperatorError(
      `${home} belongs to the database ${mark}, but DATABASE_URL ${askedPlace === undefined ? 'is not set' : `names ${askedPlace}`}. ` +
        `Give DATABASE_URL as the service has it; if you mean to change the database, remove ${path} first.`,
    )
  if (databaseUrl === undefined && !mayMake && !existsSync(join(home, 'db')))
    throw new OperatorError(
      `There is no database in ${home}, and DATABASE_URL is not set. Give DATABASE_URL as the service has it, or start the service once (npm start), which makes an embedded one.`,
    )
}

/** Marks the folder as one of this native database; {@link assertSameDatabase} compares. */
export async function rememberDatabase(home: string, databaseUrl: string): Promise<void> {
  const path = join(home, markName)
  if ((await readPrivate(path)) === undefined) await writePrivate(path, `${placeOf(databaseUrl)}\n`)
}

/** `host:port/database`, as the driver reads the URL: nothing of who signs in. */
function placeOf(databaseUrl: string): string {
  try {
    const { host, port, database } = addressOf(databaseUrl)
    return `${host}:${port}/${database ?? ''}`
  } catch {
    // The driver's error has the URL, which holds a password.
    throw new OperatorError(
      'DATABASE_URL cannot be read as an address: postgres://USER:PASSWORD@HOST/DATABASE',
    )
  }
}
