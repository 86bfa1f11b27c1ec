import { z } from 'zod'
import type { SignInBasis } from '../people/sign-in-validity.ts'

const account = z.strictObject({ issuer: z.string(), sub: z.string() })
const proof = z.union([z.strictObject({ password: z.number() }), z.strictObject({ passkey: z.string() })])
// Version 0.9 knows accounts elsewhere alone: of an issuer that nobody trusts it asks to sign in anew.
const here = 'urn:remit:shown'

/**
 * On what a sign-in stands, in the one text that a session of the library keeps for us: its `acr`. Nothing of
 * ours asks for that by its own meaning, and no token shows it.
 */
export const basisIn = {
  write: ({ upstream, proof: shown }: SignInBasis): string | undefined => {
    if (upstream !== undefined) return JSON.stringify({ issuer: upstream.issuer, sub: upstream.sub })
    return shown && JSON.stringify({ issuer: here, sub: JSON.stringify(shown) })
  },
  /** Throws for what was not written here. */
  read(acr: string | undefined): SignInBasis {
    if (acr === undefined) return { upstream: undefined, proof: undefined }
    const written = account.parse(JSON.parse(acr))
    return written.issuer === here
      ? { upstream: undefined, proof: proof.parse(JSON.parse(written.sub)) }
      : { upstream: written, proof: undefined }
  },
} as const
