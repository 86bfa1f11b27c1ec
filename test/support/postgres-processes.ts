import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Sends a signal to the postmaster of a data directory and to all of its processes, where it runs. */
export function signalPostgres(data: string, kind: NodeJS.Signals): void {
  for (const pid of postgresOf(data)) {
    try {
      process.kill(pid, kind)
    } catch {
      // It ended by itself, as those do whose postmaster is gone.
    }
  }
}

/** The postmaster of a data directory and its processes, where it runs. */
function postgresOf(data: string): number[] {
  const file = join(data, 'postmaster.pid')
  if (!existsSync(file)) return []
  const postmaster = Number(readFileSync(file, 'utf8').split('\n', 1)[0])
  // The number may belong to somebody else by now.
  if (programOf(postmaster) !== 'postgres') return []
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => parentOf(pid) === postmaster)
  return [postmaster, ...children]
}

const status = (pid: number): string | undefined => {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return undefined
  }
}
const programOf = (pid: number): string | undefined => /^Name:\t(.+)$/m.exec(status(pid) ?? '')?.[1]
const parentOf = (pid: number): number => Number(/^PPid:\t(\d+)$/m.exec(status(pid) ?? '')?.[1])
