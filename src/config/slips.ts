import { singleEdits } from '../kernel/single-edits.ts'
import type { Environment } from './group.ts'
import { secretsOf } from './secret-files.ts'

// A shorter one (PORT, HOST, OPS_PORT) is one slip away from what other programs read.
const charactersMin = 9

/**
 * A problem for each variable that is no setting and is spelled nearly like one: it would change nothing, and the service start
 * with a default that nobody meant.
 *
 * @param settings the name of every setting
 */
export function slips(env: Environment, settings: readonly string[]): readonly string[] {
  const secrets = secretsOf(env)
  const names = [...settings, ...secrets, ...secrets.map((name) => `${name}_FILE`)]
  const knownNames = new Set(names)
  const long = names.filter((name) => name.length >= charactersMin)
  const meantBy = new Map(long.map((name) => [name.toLowerCase(), name]))
  return Object.entries(env)
    .filter(([name, value]) => value && !knownNames.has(name))
    .flatMap(([name]) => {
      const typed = name.toLowerCase()
      const meant = [typed, ...singleEdits(typed)].find((candidate) => meantBy.has(candidate))
      return meant === undefined ? [] : [`${name} is no setting. Did you mean ${meantBy.get(meant)}?`]
    })
}
