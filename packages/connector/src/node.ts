import { open, readFile, rename } from 'node:fs/promises'
import { SyncMemories, type SyncState, type SyncUpdate } from './state.ts'

/**
 * A state in a file: one update a line, written through to the disk, and put together anew at each `load`.
 * The last line of a process that was killed may be half a line; it is left out. One process at a time may
 * use it, which is not checked.
 *
 * @throws where another line cannot be read: what was brought is not known any more.
 */
export function fileState(path: string): SyncState {
  return {
    async load() {
      const memory = new SyncMemories()
      for (const update of await readUpdates(path)) memory.apply(update)
      await writeThrough(`${path}.new`, 'w', memory.whole())
      await rename(`${path}.new`, path)
      return memory
    },
    apply: (update) => writeThrough(path, 'a', update),
  }
}

async function readUpdates(path: string): Promise<readonly SyncUpdate[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
  // What follows the last end of line was never written to its end.
  const lines = text.split('\n').slice(0, -1)
  return lines.map((line) => JSON.parse(line) as SyncUpdate)
}

async function writeThrough(path: string, flags: 'a' | 'w', update: SyncUpdate): Promise<void> {
  const file = await open(path, flags, 0o600)
  try {
    // `write` may write a part of it, on a full disk, and not say so.
    await file.writeFile(`${JSON.stringify(update)}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
}
