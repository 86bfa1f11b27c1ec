import { z } from 'zod'
import type { RegisteredSecret } from '../kernel/registered-secret.ts'
import { json, variableName } from './forms.ts'
import type { Contradiction, Environment } from './group.ts'
import { secretsOf } from './secret-files.ts'

interface Entry {
  readonly name: string
  readonly kind: string
  readonly origin: string
  readonly secret_env?: string | undefined
}

/** A setting that registers credentials, each for one kind at one origin. */
export const secretEntries = (kind: z.ZodType<string>, origin: z.ZodType<string>) =>
  json.pipe(
    z
      .array(
        z.strictObject({
          name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,39}$/, 'must be 1 to 40 of a-z 0-9 -'),
          kind,
          origin,
          secret_env: variableName.optional(),
        }),
      )
      .refine((entries) => new Set(entries.map(({ name }) => name)).size === entries.length, {
        message: 'has two entries of one name',
      }),
  )

/** The same with what the variables hold. */
export const withValues = (entries: readonly Entry[], env: Environment): readonly RegisteredSecret[] =>
  entries.map(({ secret_env: variable, ...entry }) => ({
    ...entry,
    value: variable === undefined ? undefined : env[variable],
  }))

/** What is registered leaves this machine: no other setting's secret does. */
export const misnamed = (
  setting: 'SOURCE_SECRETS' | 'DIRECTORY_SECRETS',
  entries: readonly Entry[],
  env: Environment,
): readonly Contradiction[] => {
  const others = new Set(secretsOf({ ...env, [setting]: '' }))
  const isReader = !env.REMIT_ROLE || env.REMIT_ROLE.split(',').some((role) => role.trim() === 'worker')
  return entries.flatMap(({ secret_env: name }, index) => [
    {
      isSo: name !== undefined && !env[name],
      of: [],
      problem: `${setting}.${index}.secret_env names ${name}, which is not set: leave it out where another process has it`,
    },
    {
      isSo: name !== undefined && others.has(name),
      of: [],
      problem: `${setting}.${index}.secret_env names ${name}, which is another setting’s secret`,
    },
    {
      // Whoever has the value reads there: nobody would, and nothing say so.
      isSo: name !== undefined && !isReader,
      of: ['REMIT_ROLE'],
      problem: `${setting}.${index}.secret_env is for a process that reads (REMIT_ROLE=worker): leave it out here`,
    },
  ])
}
