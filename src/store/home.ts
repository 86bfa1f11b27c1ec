import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { OperatorError } from '../kernel/operator-error.ts'
import { lockFolder } from './lock.ts'

/** There is no Remit in the folder that `REMIT_HOME` names. */
export class NoHomeError extends OperatorError {
  constructor(dir: string) {
    super(`There is no Remit in ${dir}. Set REMIT_HOME to its folder, as where it was started.`)
    this.name = 'NoHomeError'
  }
}

/**
 * {@link lockFolder} for whoever works on what is there: throws {@link NoHomeError} and makes nothing where no service
 * was ever started. A mistyped folder would else become a new service, and a command there "succeed" while the one that
 * was meant knows nothing of it. Whether the database is the one that belongs to it: {@link assertSameDatabase}.
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
