import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

/**
 * Runs a program to its end, as the person who sits at it: `answer` gets each line that it says, and what it gives is said
 * back. Fails where the program does.
 */
export async function drive(
  [command = '', ...args]: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  answer: (line: string) => Promise<string | undefined>,
): Promise<void> {
  const child = spawn(command, args, { env: { PATH: process.env['PATH'], ...env } })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const ended = once(child, 'close')
  for await (const line of createInterface(child.stdout)) {
    const said = await answer(line)
    if (said !== undefined) child.stdin.write(`${said}\n`)
  }
  const [code] = await ended
  if (code !== 0) throw new Error(`It ended with ${String(code)}:\n${stderr}`)
}
