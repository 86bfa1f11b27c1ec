import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

// sun_path holds 108 bytes on Linux and 104 on macOS.
const pathBytesMax = 100

/** The path of a Unix socket. */
export interface SocketPath {
  readonly path: string
  remove(): Promise<void>
}

/**
 * A free Unix socket path `name` inside `dir` (made 0700). A path over 100 bytes moves to a fresh 0700
 * folder under the temporary directory. A file left there by a crash is removed: the caller holds the
 * folder's lock.
 */
export async function socketPath(dir: string, name: string): Promise<SocketPath> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await chmod(dir, 0o700)
  let folder = dir
  if (Buffer.byteLength(join(dir, name)) > pathBytesMax) folder = await mkdtemp(join(tmpdir(), 'remit-'))
  const path = join(folder, name)
  await rm(path, { force: true })
  return {
    path,
    async remove() {
      await rm(path, { force: true })
      if (folder !== dir) await rm(folder, { recursive: true, force: true })
    },
  }
}
