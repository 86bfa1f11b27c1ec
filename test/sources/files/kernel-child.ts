import { closeSync, openSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** Whoever asks: an account with all its groups. */
export interface Asker {
  readonly uid: number
  readonly gid: number
  readonly gids: readonly number[]
}

/** `paths` are below `root`, as Latin-1. */
export interface KernelQuestion {
  readonly root: string
  readonly askers: readonly Asker[]
  readonly paths: readonly string[]
}

/** Opens each file as each of them, and says who may: a process of theirs would get the same answer. */
function ask({ root, askers, paths }: KernelQuestion): readonly (readonly boolean[])[] {
  process.chdir(root)
  return askers.map(({ uid, gid, gids }) => {
    process.setgroups?.([...gids])
    process.setegid?.(gid)
    process.seteuid?.(uid)
    try {
      return paths.map((path) => opens(Buffer.from(path, 'latin1')))
    } finally {
      process.seteuid?.(0)
      process.setegid?.(0)
      process.setgroups?.([])
    }
  })
}

function opens(path: Buffer): boolean {
  try {
    closeSync(openSync(path, 'r'))
    return true
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EACCES' || code === 'EPERM') return false
    // The path of the question is another one by now: it is the test's fault, and no answer.
    throw error
  }
}

for await (const line of createInterface({ input: process.stdin }))
  process.stdout.write(`${JSON.stringify(ask(JSON.parse(line)))}\n`)
