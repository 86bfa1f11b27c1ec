import { ConfigError, loadConfig } from '../config/config.ts'
import { version } from '../kernel/version.ts'
import { openReading } from '../store/postgres.ts'
import { type ExamineDeps, examine } from './examine.ts'
import type { Finding } from './finding.ts'

/** {@link examine} for the service that this environment describes. */
export const examineService = (
  environment: NodeJS.ProcessEnv,
  deps: Pick<ExamineDeps, 'askRunning' | 'fetch' | 'now'>,
): Promise<readonly Finding[]> =>
  examine({
    ...deps,
    settings: settingsOf(environment),
    openReading,
    migrations: new URL('../../migrations/', import.meta.url),
    version,
  })

function settingsOf(environment: NodeJS.ProcessEnv): ExamineDeps['settings'] {
  try {
    return loadConfig(environment)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}
