import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'

/** Debian's, which has Samba's own client. */
export const python = '/usr/bin/python3'

/** Of every account. */
export const password = 'pw-of-all'

/** What an administrator of the server does, over SMB. */
export interface Admin {
  write(path: string, text: string): Promise<void>
  mkdir(path: string): Promise<void>
  rename(path: string, to: string): Promise<void>
  rm(path: string): Promise<void>
  rmdir(path: string): Promise<void>
  /** Owner, group and DACL in SDDL; `D:NONE`: no DACL at all. */
  rights(path: string, sddl: string): Promise<void>
  /** The content of each account's paths as that account gets it, all at once; null: it is refused. */
  reads(share: string, paths: ReadonlyMap<string, readonly string[]>): Promise<(string | null)[][]>
  /** Begins the sessions of accounts anew: a token is made at a session's begin. */
  forget(share: string, names: readonly string[]): Promise<void>
}

const answer = z.union([z.object({ ok: z.unknown() }), z.object({ error: z.string() })])
const read = z.array(z.array(z.string().nullable()))

/** A script of this folder, which answers questions one after the other. */
export function openScript(name: string, args: readonly string[], env = process.env) {
  const script = fileURLToPath(new URL(name, import.meta.url))
  const child = spawn(python, [script, ...args], { env, stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = new Promise((resolve) => child.once('exit', resolve))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  async function ask(question: object): Promise<unknown> {
    child.stdin.write(`${JSON.stringify(question)}\n`)
    const line = await lines.next()
    if (line.done === true) throw new Error(`${name} is gone.`)
    const parsed = answer.parse(JSON.parse(line.value))
    if ('error' in parsed) throw new Error(`${JSON.stringify(question)}: ${parsed.error}`)
    return parsed.ok
  }
  return {
    ask,
    async close() {
      child.stdin.end()
      await exited
    },
  }
}

/** In Python: no other client of Samba leaves entries in the order in which they are given. */
export function openAdmin(host: string, domain: string) {
  const { ask, close } = openScript('admin.py', [host, password, domain])
  const admin: Admin = {
    write: async (path, text) => void (await ask({ op: 'write', path, text })),
    mkdir: async (path) => void (await ask({ op: 'mkdir', path })),
    rename: async (path, to) => void (await ask({ op: 'rename', path, to })),
    rm: async (path) => void (await ask({ op: 'rm', path })),
    rmdir: async (path) => void (await ask({ op: 'rmdir', path })),
    rights: async (path, sddl) => void (await ask({ op: 'rights', path, sddl })),
    reads: async (share, paths) =>
      read.parse(await ask({ op: 'reads', share, paths: Object.fromEntries(paths) })),
    forget: async (share, names) => void (await ask({ op: 'forget', share, names })),
  }
  return { admin, close }
}
