import { readFileSync } from 'node:fs'
import { parse } from 'yaml'

/** What tests look at in docker-compose.yml. */
export interface ComposeFile {
  readonly services: Readonly<Record<'remit' | 'postgres' | 'openfga' | 'openfga-statistics', ComposeService>>
}

interface ComposeService {
  readonly env_file?: readonly { readonly path: string; readonly required: boolean }[]
  readonly environment?: Readonly<Record<string, unknown>>
  readonly entrypoint?: readonly string[]
  readonly command?: string | readonly string[]
  readonly stop_grace_period?: string
}

export const composeFile = (): ComposeFile =>
  parse(readFileSync(new URL('../../../docker-compose.yml', import.meta.url), 'utf8')) as ComposeFile

/**
 * What the container of the service gets: of `.env`, and what the file says over it, filled in from `.env`
 * and the shell.
 */
export function inContainer(
  dotenv: Readonly<Record<string, string>>,
  shell: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const { env_file: files, environment = {} } = composeFile().services.remit
  const passed = files?.some(({ path }) => path === '.env') === true ? dotenv : {}
  return { ...passed, ...filled(environment, { ...dotenv, ...shell }) }
}

/** An `environment` of the file. Throws where a variable that has to be there is not. */
export function filled(
  environment: Readonly<Record<string, unknown>>,
  dotenv: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const said = Object.entries(environment).map(([name, value]): [string, string] => [
    name,
    String(value ?? '').replace(
      /^\$\{(\w+):([-?])(.*)\}$/,
      (_, from: string, kind: string, other: string) => {
        if (dotenv[from] === undefined && kind === '?')
          throw new Error(`required variable ${from} is missing a value: ${other}`)
        return dotenv[from] ?? other
      },
    ),
  ])
  return Object.fromEntries(said)
}
