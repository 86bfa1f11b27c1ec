import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { programEnv } from '../support/program-env.ts'

/** One command of a page of the documentation, with what stands below it there. */
export interface Shown {
  readonly command: string
  readonly output: string
}

/** The commands of a page's console blocks, in order. A line that ends in a backslash goes on. */
export function commandsOf(page: string): Shown[] {
  const blocks = [...page.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block)
  return blocks.flatMap((block) =>
    block
      .split(/^\$ /m)
      .slice(1)
      .map((text) => {
        const [, command = '', output = ''] = /^((?:.*\\\n)*.*)\n([\s\S]*)$/.exec(text) ?? []
        return { command, output: output.trim() }
      }),
  )
}

/** Runs a command in a shell with only these settings. */
export async function inShell(command: string, env: Readonly<Record<string, string>>): Promise<string> {
  const { HOME = '' } = process.env
  const { stdout } = await promisify(execFile)('sh', ['-c', command], {
    env: { ...programEnv, HOME, ...env },
  })
  return stdout.trim()
}

/**
 * What of a shown answer does not fit a real one: members that are missing or too many, and texts that
 * differ. Where `…` stands, anything may; numbers may differ.
 */
export function differences(shown: unknown, real: unknown, at = ''): string[] {
  if (typeof shown === 'string' && typeof real === 'string') {
    const pattern = shown.split('…').map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    return new RegExp(`^${pattern.join('[\\s\\S]*')}$`).test(real) ? [] : [`${at}: ${shown} ≠ ${real}`]
  }
  if (typeof shown !== 'object' || shown === null || typeof real !== 'object' || real === null)
    return typeof shown === typeof real && (shown === null) === (real === null) ? [] : [`${at}: another type`]
  const names = new Set([...Object.keys(shown), ...Object.keys(real)])
  return [...names].flatMap((name) => {
    const [one, other] = [shown, real].map((of) => (of as Readonly<Record<string, unknown>>)[name])
    if (one === undefined || other === undefined) return [`${at}.${name}: only in one`]
    return differences(one, other, `${at}.${name}`)
  })
}
