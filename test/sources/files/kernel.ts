import { spawn, spawnSync } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { needs } from '../../support/native.ts'
import type { KernelQuestion } from './kernel-child.ts'

/** Options of a test or suite that becomes other accounts of this machine, and sets ACLs. */
export const needsRootAndAcls = needs(
  process.platform === 'linux' &&
    process.getuid?.() === 0 &&
    spawnSync('setfacl', ['--version']).status === 0,
  'Linux, root and the package acl',
)

const answer = z.array(z.array(z.boolean()))

/** The kernel itself: who may open what. */
export interface Kernel extends AsyncDisposable {
  ask(question: KernelQuestion): Promise<readonly (readonly boolean[])[]>
}

/** A process of its own, since it becomes other accounts. */
export function openKernel(): Kernel {
  const child = spawn(process.execPath, [fileURLToPath(new URL('kernel-child.ts', import.meta.url))], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const exited = new Promise((resolve) => child.once('exit', resolve))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    async ask(question) {
      child.stdin.write(`${JSON.stringify(question)}\n`)
      const line = await lines.next()
      if (line.done === true) throw new Error('The kernel does not answer.')
      return answer.parse(JSON.parse(line.value))
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end()
      await exited
    },
  }
}
