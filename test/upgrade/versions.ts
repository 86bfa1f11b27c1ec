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
  const added = ['log', '--diff-filter=A', '--format=%H', '--', `${frozen}/noted.json`]
  try {
    const found = execFileSync('git', added, { cwd: here, stdio: ['ignore', 'pipe', 'ignore'] })
    return found.toString().trim().split('\n').at(-1) || undefined
  } catch {
    return undefined
  }
}
