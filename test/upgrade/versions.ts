import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))

/** Of each earlier version there is a folder that it left: `npm run freeze`. */
export const frozenVersions: readonly string[] = readdirSync(here, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
  .sort()

/** The commit that froze a version, and was released; undefined in a clone that lacks it. */
export function commitOf(frozen: string): string | undefined {
  return (
    git('log', '--diff-filter=A', '--format=%H', '--', `${frozen}/noted.json`)?.split('\n').at(-1) ||
    undefined
  )
}

/** Paths of the repository, by git's patterns, that differ from what a version was released with. */
export function changedSince(frozen: string, ...patterns: readonly string[]): readonly string[] {
  const commit = commitOf(frozen)
  if (commit === undefined) return []
  const found = git('diff', '--name-only', commit, '--', ...patterns.map((one) => `:(top,glob)${one}`)) ?? ''
  return found.split('\n').filter((path) => path !== '')
}

function git(...args: readonly string[]): string | undefined {
  try {
    return execFileSync('git', args, {
      cwd: here,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return undefined
  }
}
