import '../kernel/validation-message.ts'
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { OperatorError } from '../kernel/operator-error.ts'
import { embeddings } from './embeddings.ts'
import { flag, isLoopback } from './forms.ts'
import { type Derived, type Environment, group } from './group.ts'
import { issuers } from './issuers.ts'
import { ingestion, limits, retrieval } from './limits.ts'
import { listening, outbound, roles } from './listening.ts'
import { nominators } from './nominators.ts'
import { slips, withSecretFiles } from './secret-files.ts'
import { directories, sources } from './sources.ts'
import { record, searchEngine, stores } from './stores.ts'
import { vault } from './vault.ts'

const settingNames = ['REMIT_DEMO', 'HOST', 'OPS_HOST', 'PUBLIC_URL']

/** Whether all of it is there to be looked at only. */
const demo = group({
  settings: {
    REMIT_DEMO: flag
      .optional()
      .describe(
        'Sample corpus, people and demo tokens. Default on only when everything is embedded and loopback, and never by `remit start`.',
      ),
    DEMO_SAMPLE: flag
      .default(true)
      .describe(
        'false: the demo starts empty, without the sample company, for people and documents of your own.',
      ),
  },
  read: ({ DEMO_SAMPLE }, { demo }) => ({
    demo,
    /** Whether the demo brings its company. */
    demoSample: demo && DEMO_SAMPLE,
  }),
  contradictions: (_, { demo, embedded, loopback }) => [
    {
      isSo: demo && !embedded,
      of: settingNames,
      problem:
        'REMIT_DEMO needs everything embedded: unset DATABASE_URL, OPENFGA_API_URL and TRUSTED_ISSUERS, or set REMIT_DEMO=false',
    },
    {
      isSo: demo && !loopback,
      of: settingNames,
      problem:
        'REMIT_DEMO needs HOST, OPS_HOST and PUBLIC_URL on loopback: anyone who reaches it could mint tokens',
    },
  ],
})

/** Every setting, group by group: name, default and what it is for. `.env.example` is generated from this. */
export const settings = z.object({
  ...listening.settings,
  ...roles.settings,
  ...nominators.settings,
  ...stores.settings,
  ...issuers.settings,
  ...vault.settings,
  ...record.settings,
  ...embeddings.settings,
  ...ingestion.settings,
  ...sources.settings,
  ...directories.settings,
  ...retrieval.settings,
  ...searchEngine.settings,
  ...limits.settings,
  ...outbound.settings,
  ...demo.settings,
})

const groups = [
  listening,
  roles,
  nominators,
  stores,
  issuers,
  vault,
  record,
  embeddings,
  ingestion,
  sources,
  directories,
  retrieval,
  searchEngine,
  limits,
  outbound,
  demo,
] as const

/** All settings, read and checked. Frozen. */
export type Config = ReturnType<typeof loadConfig>

export class ConfigError extends OperatorError {
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(`The configuration cannot be used:\n${problems.map((problem) => `  ${problem}`).join('\n')}`)
    this.name = 'ConfigError'
    this.problems = problems
  }
}

/** The settings that are given: an empty one has its default. */
export const presentIn = (env: Environment): Environment =>
  Object.fromEntries(Object.entries(env).filter(([name, value]) => name in settings.shape && value !== ''))

/**
 * Reads the settings, and the files that hold secrets; reports every problem at once; a missing security
 * setting is a problem.
 */
export function loadConfig(
  environment: Environment,
  readFile: (path: string) => string = (path) => readFileSync(path, 'utf8'),
) {
  const { env, problems: unreadable } = withSecretFiles(environment, readFile)
  const present = presentIn(env)
  const issues = settings.safeParse(present).error?.issues ?? []
  const unread = new Set(issues.map(({ path }) => String(path[0])))
  // What cannot be read is left out here, so that one start also tells what contradicts in the rest.
  const value = settings.parse(
    Object.fromEntries(Object.entries(present).filter(([name]) => !unread.has(name))),
  )
  const derived = derive(value, present)
  const problems = [
    ...slips(environment, Object.keys(settings.shape)),
    ...unreadable,
    ...issues.map(({ path, message }) => `${path.join('.')} ${message}`),
    ...groups
      .flatMap((group) => group.contradictions?.(value, derived, env) ?? [])
      .filter(({ isSo, of }) => isSo && !of.some((name) => unread.has(name)))
      .map(({ problem }) => problem),
  ]
  if (problems.length > 0) throw new ConfigError(problems)
  return Object.freeze({
    ...listening.read(value, derived, env),
    ...roles.read(value, derived, env),
    ...nominators.read(value, derived, env),
    ...stores.read(value, derived, env),
    ...issuers.read(value, derived, env),
    ...vault.read(value, derived, env),
    ...record.read(value, derived, env),
    ...embeddings.read(value, derived, env),
    ...ingestion.read(value, derived, env),
    ...sources.read(value, derived, env),
    ...directories.read(value, derived, env),
    ...retrieval.read(value, derived, env),
    ...searchEngine.read(value, derived, env),
    ...limits.read(value, derived, env),
    ...outbound.read(value, derived, env),
    ...demo.read(value, derived, env),
  })
}

function derive(value: z.infer<typeof settings>, present: Environment): Derived {
  const publicUrl = value.PUBLIC_URL ?? `http://localhost:${value.PORT}`
  const loopback = [value.HOST, value.OPS_HOST, new URL(publicUrl).hostname].every(isLoopback)
  const embedded = !['DATABASE_URL', 'OPENFGA_API_URL', 'TRUSTED_ISSUERS'].some((name) => name in present)
  return { publicUrl, loopback, embedded, demo: value.REMIT_DEMO ?? (embedded && loopback) }
}
