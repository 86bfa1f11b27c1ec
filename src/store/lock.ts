import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { OperatorError } from '../kernel/operator-error.ts'

/** Another process holds the folder. */
export class FolderLockedError extends OperatorError {
  constructor(dir: string) {
    super(`Another process uses ${dir}. Stop it first, or choose another REMIT_HOME.`)
    this.name = 'FolderLockedError'
  }
}

/**
 * Takes a folder for this process alone, or throws {@link FolderLockedError} at once. Makes the folder
 * (0700).
 *
 * Node has no flock(2). SQLite, which comes with Node, locks its file in the kernel: the lock ends with the
 * process, kill -9 included, so it is never stale and there is no pid to mistake for another's. It also holds
 * between two takers in one process. Not sound on network file systems that do not pass locks on.
 */
export async function lockFolder(dir: string): Promise<AsyncDisposable> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await chmod(dir, 0o700)
  const file = new DatabaseSync(join(dir, 'lock'))
  try {
    file.exec('pragma locking_mode = exclusive; begin exclusive')
  } catch (error) {
    file.close()
    if (isBusy(error)) throw new FolderLockedError(dir)
    throw error
  }
  return {
    [Symbol.asyncDispose]: async () => {
      if (file.isOpen) file.close()
    },
  }
}

const sqliteBusy = 5

const isBusy = (error: unknown): boolean =>
  error instanceof Error && 'errcode' in error && error.errcode === sqliteBusy
