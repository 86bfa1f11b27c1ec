import { spawn } from 'node:child_process'
import type { FileHandle } from 'node:fs/promises'
import { SourceUnavailable } from '@remit/connector'
import { type Acl, parseAcls } from './acl.ts'

/** The most files of one call: their descriptors go with it. */
export const aclsAtOnce = 200

const firstFd = 3
const limitMs = 30_000

/**
 * The ACLs of open files, in their order: of these files, whatever stands under their names by now. Undefined
 * where one cannot be read.
 *
 * @throws SourceUnavailable without `getfacl` (Debian's package `acl`), or where it does not end.
 */
export async function readAcls(
  handles: readonly FileHandle[],
  program = 'getfacl',
): Promise<readonly (Acl | undefined)[]> {
  if (handles.length === 0) return []
  const names = handles.map((_, index) => `/proc/self/fd/${index + firstFd}`)
  const options = ['--numeric', '--absolute-names', '--access', '--no-effective']
  const output = await new Promise<string>((resolve, reject) => {
    const child = spawn(program, [...options, ...names], {
      stdio: ['ignore', 'pipe', 'ignore', ...handles.map(({ fd }) => fd)],
      timeout: limitMs,
      killSignal: 'SIGKILL',
    })
    const chunks: Buffer[] = []
    child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk))
    child.on('error', (error) =>
      reject(new SourceUnavailable(`${program} does not run (${error.message}).`, { cause: error })),
    )
    child.on('close', (code, signal) => {
      // 1: of some of them it could say nothing. Those are missing in what it prints.
      if (code === 0 || code === 1) resolve(Buffer.concat(chunks).toString('latin1'))
      else reject(new SourceUnavailable(`${program} ended with ${signal ?? code}.`))
    })
  })
  try {
    const acls = parseAcls(output)
    return names.map((name) => acls.get(name))
  } catch (error) {
    throw new SourceUnavailable(`${program} prints what cannot be read.`, { cause: error })
  }
}
