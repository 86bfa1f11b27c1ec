import { z } from 'zod'
import type { SignInBasis } from '../people/sign-in-validity.ts'

const account = z.strictObject({ issuer: z.string(), sub: z.string() })
const proof = z.union([z.strictObject({ password: z.number() }), z.strictObject({ passkey: z.string() })])

/**
 * On what a sign-in stands, in the one text that a session of the library keeps for us: its `acr`. Nothing of
 * ours asks for that by its own meaning, and no token shows it.
 */
export const basisIn = {
  write: ({ upstream, proof: shown }: SignInBasis): string | undefined => {
    if (upstream !== undefined) return JSON.stringify({ issuer: upstream.issuer, sub: upstream.sub })
    return shown && JSON.stringify(shown)
  },
  /** Throws for what was not written here. */
  read(acr: string | undefined): SignInBasis {
    if (acr === undefined) return { upstream: undefined, proof: undefined }
    const written = z.union([account, proof]).parse(JSON.parse(acr))
    return 'issuer' in written
      ? { upstream: written, proof: undefined }
      : { upstream: undefined, proof: written }
  },
} as const
