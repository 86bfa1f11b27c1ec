import { z } from 'zod'
import type { ExternalAccount } from '../people/links.ts'

const form = z.strictObject({ issuer: z.string(), sub: z.string() })

/**
 * The account elsewhere through which somebody signed in, in the one text that a session of the library keeps
 * for us: its `acr`. Nothing of ours asks for that by its own meaning, and no token shows it.
 */
export const upstreamIn = {
  write: ({ issuer, sub }: ExternalAccount): string => JSON.stringify({ issuer, sub }),
  /** Throws for what was not written here. */
  read: (acr: string | undefined): ExternalAccount | undefined =>
    acr === undefined ? undefined : form.parse(JSON.parse(acr)),
} as const
